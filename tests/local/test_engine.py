"""What is missing for the engine is said before anything is started."""

import pytest

from app.local import engine
from app.local.errors import MissingPart


def missing(_: str) -> object:
    raise OSError("cannot open shared object file")


def test_a_missing_library_is_named_with_its_package() -> None:
    with pytest.raises(MissingPart, match="apt install libgomp1"):
        engine.check("linux", missing)


def test_where_it_is_not_needed_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    engine.check("darwin", missing)
    monkeypatch.setenv("MEATLIZARD_LLAMA_URL", "http://127.0.0.1:1")
    engine.check("linux", missing)


def test_here_it_is_there() -> None:
    engine.check()
