"""What is missing for the engine is said before anything is started."""

import socket

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
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MEATLIZARD_LLAMA_URL", f"http://127.0.0.1:{server.getsockname()[1]}/v1")
        engine.check("linux", missing)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:8080", "http://127.0.0.1:99999", "ftp://here"])
def test_a_server_that_does_not_answer_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEATLIZARD_LLAMA_URL", url)
    with pytest.raises(MissingPart, match="MEATLIZARD_LLAMA_URL"):
        engine.check()


def test_here_it_is_there() -> None:
    engine.check()
