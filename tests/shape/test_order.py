"""What the tests are handed out by: a file, or all files that share the one stack."""

from pathlib import Path

from tests.support.order import OWN_STACK, STACK, unit


def test_all_that_share_the_stack_are_one_unit(repository: Path) -> None:
    files = {file.name: f"{STACK}{file.name}" for file in (repository / STACK).glob("test_*.py")}
    assert set(OWN_STACK) <= set(files), "a file of that list is gone"
    units = {name: unit(f"{file}::test_it[a::b]") for name, file in files.items()}
    assert units == {name: files[name] if name in OWN_STACK else STACK for name in files}
    assert unit("tests/test_logs.py::test_it") == "tests/test_logs.py"
