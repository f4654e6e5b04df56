"""The command line's own end of the socket: what it prints, and how it stops."""

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tenacity import wait_none

from app import console
from app.console import Asking
from app.wire.errors import MeatLizardError


@pytest.fixture
def asking() -> Asking:
    return Asking("http://nowhere", "token", "session", "Why?", None, {}, quiet=False)


def hear(asking: Asking, *events: dict[str, Any]) -> None:
    for event in events:
        asking._hear(event)


ACCEPTED = {"event": "accepted", "turn": "t"}
STARTED = {"event": "started", "turn": "t", "attempt": 1, "at": 0, "node": "home"}


def delta(at: int, text: str) -> dict[str, Any]:
    return {"event": "delta", "turn": "t", "at": at, "text": text}


def queued(position: int, eta: float | None) -> dict[str, Any]:
    return {"event": "queued", "turn": "t", "attempt": 0, "position": position, "eta": eta}


def test_whoever_waits_is_told_where_and_whether_anybody_is_there(
    asking: Asking, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [{"state": "draining"}, {"state": "away"}]
    monkeypatch.setattr(console, "call", lambda *_: {"nodes": nodes})
    hear(asking, ACCEPTED, queued(3, None), queued(3, None))
    nodes.append({"state": "ready"})
    hear(asking, queued(2, 20.4), queued(2, 17.0), queued(1, None), ACCEPTED, STARTED, delta(0, "One."))
    said = capsys.readouterr()
    assert said.out == "One."
    assert said.err.splitlines() == [
        "meatlizard: no node takes prompts just now; yours waits for one.",
        "meatlizard: number 2 in the queue, about 20 s.",
        "meatlizard: number 1 in the queue.",
    ]


def test_a_token_that_may_not_see_the_nodes_asks_all_the_same(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise MeatLizardError("You may not do this.")

    monkeypatch.setattr(console, "call", refused)
    hear(asking, ACCEPTED, queued(1, None), STARTED, delta(0, "One."))


def test_a_line_that_broke_prints_nothing_twice(asking: Asking, capsys: pytest.CaptureFixture[str]) -> None:
    hear(asking, ACCEPTED, STARTED, delta(0, "One "))
    hear(asking, ACCEPTED, STARTED, delta(0, "One "), delta(4, "two"))
    assert capsys.readouterr().out == "One two"


def test_another_attempt_goes_on_where_it_was_taken_up(asking: Asking, capsys: pytest.CaptureFixture[str]) -> None:
    hear(asking, ACCEPTED, STARTED, delta(0, "One "), STARTED | {"attempt": 2, "at": 4, "node": "away"}, delta(4, "two"))
    assert capsys.readouterr().out == "One two"


def test_ctrl_c_stops_the_turn_as_soon_as_it_is_known(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(console, "call", lambda url, *_: called.append(url))
    tries = iter([KeyboardInterrupt, None])

    def follow() -> Any:
        if trouble := next(tries):
            raise trouble
        hear(asking, ACCEPTED, STARTED, delta(0, "One "), {"event": "cancelled", "turn": "t", "text": "One "})
        return asking._answer

    monkeypatch.setattr(asking, "_follow", follow)
    answer = asking.run()
    assert (answer.state, answer.text) == ("cancelled", "One ")
    assert called == ["http://nowhere/api/turns/t/stop"]


def test_a_platform_that_goes_down_and_comes_up_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "wait_random_exponential", lambda **_: wait_none())
    answers = [b"", b"HTTP/1.1 503 Not right now\r\n\r\n", b"HTTP/1.1 403 Forbidden\r\n\r\n"]
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as beside:

        server.settimeout(30)  # Were it asked too few times, this ends.

        def answer() -> None:
            for words in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(words)

        said = beside.submit(answer)
        asking = Asking(f"http://127.0.0.1:{server.getsockname()[1]}", "token", "session", "Why?", None, {}, quiet=True)
        with pytest.raises(MeatLizardError, match="refused the connection"):
            asking.run()
        said.result()
