"""The built wheel, installed where there is no checkout, is all that `meatlizard up` needs."""

import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel in it; what the wheel depends on is borrowed from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout = Path(__file__).resolve().parents[2]
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(checkout)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
    # A path in a .pth file is only looked in: the checkout, which is installed there by a .pth of its own, is not.
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return python


def test_up_from_an_empty_folder(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stack = Stack.of(tmp_path / "home")
    stack.command = [str(installed.parent / "meatlizard")]
    # rclone is a program and not a module: borrowed as well, by PATH.
    stack.environment["PATH"] = f"{sysconfig.get_path('scripts')}:{stack.environment['PATH']}"
    told = stack.up()
    try:
        where = subprocess.run(
            [installed, "-c", "import app.cli, sys; print(app.cli.__file__)"], capture_output=True, text=True, check=True
        )
        assert str(installed.parents[1]) in where.stdout, "the checkout was run, not the wheel"
        assert "http://127.0.0.1:" in told
        answer = stack.ask("Say hello.")
        assert (answer["state"], bool(answer["text"].strip())) == ("done", True)
    finally:
        stack.down()
