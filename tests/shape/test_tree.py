"""The shape of the tree: arrows run down only, modules say what they are for, no machine of ours is in it."""

import ast
import contextlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EMPTY = {"app/__init__.py"}
FOREIGN = re.compile(
    r"https?://[^\s\"'<>]*(?:pypi|/simple\b|artifactory|nexus|devpi|jfrog)|\b(?:pypi|npmjs)\.(?:org|com)\b|pythonhosted|--(?:extra-)?index-url\b(?!`)|/root/|/home/[a-z]+/|/Users/"
)
"""An address of a package registry, or a path of one machine."""
ALLOWED = {
    "tests/shape/test_tree.py": "this rule",
}


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def modules() -> list[Path]:
    return [path for path in committed() if path.suffix == ".py"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_arrows_run_down_only() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def opening(path: Path) -> str:
    """Return what is wrong with a module's first sentence."""
    source = path.read_text()
    if name(path) in EMPTY:
        return "is not empty" if source else ""
    said = ast.get_docstring(ast.parse(source))
    if not said:
        return "does not say what it is for"
    first = said.split("\n\n")[0].replace("\n", " ").rstrip()
    return "" if first.endswith((".", ":")) else f"does not open with a sentence: {first}"


def test_every_module_opens_with_one_sentence() -> None:
    assert not [f"{name(path)} {wrong}" for path in modules() if (wrong := opening(path))]


def test_modules_stay_small() -> None:
    large = {name(path): lines for path in modules() if (lines := len(path.read_text().splitlines())) > 400}
    assert not {path for path in large if not path.startswith("tests/")}, large


def test_there_are_no_utilities() -> None:
    assert not [name(path) for path in modules() if re.search(r"(util|helper|misc|common)s?(\.py|/)", name(path))]


def test_no_registry_and_no_machine_is_named() -> None:
    texts = {}
    for path in committed():
        with contextlib.suppress(UnicodeDecodeError):
            texts[name(path)] = path.read_text()
    assert len(texts) > 50
    found = {place: match.group() for place, text in texts.items() if (match := FOREIGN.search(text))}
    assert {place: what for place, what in found.items() if place not in ALLOWED} == {}


def test_nothing_secret_or_made_is_committed() -> None:
    bad = re.compile(r"\.(env|pem|key|gguf|pyc|log|sqlite|db)$|(^|/)(\.venv|__pycache__|node_modules)/")
    assert not [name(path) for path in committed() if bad.search(name(path))]


def test_the_package_of_migrations_has_no_init() -> None:
    assert not (ROOT / "alembic/__init__.py").exists(), "it would shadow the library"
