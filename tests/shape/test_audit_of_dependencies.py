"""`make audit-dependencies` says "nothing known" only of packages that were looked up."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest


def package(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": []} | more


SKIPPED = {"name": "b", "skip_reason": "Dependency not found on PyPI and could not be audited: b (1.0)"}
HOLE = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}


@pytest.mark.parametrize(
    ("dependencies", "sound", "word"),
    [
        ([package("a"), package("b")], True, "2 packages, nothing known against any"),
        ([package("a"), SKIPPED], False, "nothing can be said of 1 of 2 packages"),
        ([package("a", vulns=[HOLE]), SKIPPED], False, "a 1.0: PYSEC-1, mended in 1.1"),
        ([], False, "0 packages"),
    ],
)
def test_silence_is_no_clean_bill(repository: Path, dependencies: list[Any], sound: bool, word: str) -> None:
    spec = importlib.util.spec_from_file_location("audit", repository / "requirements" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found, said = module.judged({"dependencies": dependencies})
    assert (found, word in said) == (sound, True), said
