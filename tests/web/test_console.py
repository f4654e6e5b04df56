"""The command line's own end of the socket: what it prints, and how it stops."""

from typing import Any

import pytest

from app import console
from app.console import Asking


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
