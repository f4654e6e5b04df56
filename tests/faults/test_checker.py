"""The checker finds what it is there to find: each of these is a reply as it may never be."""

import pytest

from tests.faults import checker
from tests.faults.checker import Kept
from tests.faults.engines import Call
from tests.faults.load import Asked

CALLS = [Call("home", "Why?", "", "Because it", "", ), Call("home-2", "Why?", "Because", " of rain.", "stop")]


def kept(reply: str = "Because of rain.", state: str = "done", **more: object) -> Kept:
    facts: dict = {"attempt": 2, "prompt": "Why?", "reason": "", "replies": 1, "turns": 1} | more
    return Kept("t", "s", "c", state, reply=reply, **facts)


def asked(shown: str = "Because of rain.", event: str = "done", **more: object) -> Asked:
    facts: dict = {"endings": 1, "trouble": "", "seconds": 1.0, "turn": "t"} | more
    text = facts.pop("text", "Because of rain.")
    return Asked("s", "c", prompt="Why?", shown=shown, ending={"event": event, "text": text} if event else {}, **facts)


def findings(row: Kept | None, page: Asked, calls: list[Call] = CALLS) -> list[str]:
    rows = {row.turn: row} if row else {}
    return [*checker._outcomes(rows, [page]), *checker._texts(rows, [page], {"Why?": calls})]


def test_a_reply_that_two_engines_made_is_sound() -> None:
    assert findings(kept(), asked()) == []
    assert findings(kept("Because", "cancelled"), asked("Because", "cancelled", text="Because")) == []
    assert findings(kept("", "failed", reason="No."), asked("", "failed", text=None)) == []


def test_a_reply_that_had_all_its_tokens_when_its_engine_died_is_whole() -> None:
    assert findings(kept("Because it", finish="length"), asked("Because it", text="Because it")) == []


@pytest.mark.parametrize(
    ("row", "page", "words"),
    [
        (kept("Because it", finish="length", attempt=1), asked("Because it", text="Because it"), "not what the engines made"),
        (kept("Because snow", finish="length"), asked("Because snow", text="Because snow"), "not what the engines made"),
        (kept("Because it of rain."), asked(text="Because it of rain.", shown="Because it of rain."), "not what the engines made"),
        (kept("Because"), asked(text="Because", shown="Because"), "not what the engines made"),
        (kept("Because of snow.", "failed", reason="No."), asked(event="failed", text="Because of snow."), "not what the engines made"),
        (kept(), asked(shown="Because of"), "the page showed 10 characters"),
        (kept(), asked(shown="Because of of rain."), "the page showed"),
        (kept(), asked(text="Because."), "told another text"),
        (kept(state="running"), asked(), "never ended"),
        (kept(state="failed"), asked(event="failed"), "without a reason"),
        (kept(replies=2), asked(), "2 replies for 1 turns"),
        (kept(), asked(event=""), "for ever"),
        (kept(), asked(event="failed"), "a page saw failed, PostgreSQL says done"),
        (kept(), asked(endings=2), "2 endings"),
        (kept(), asked(trouble="a gap"), "a gap"),
        (None, asked(), "is not in PostgreSQL"),
        (kept(), asked(turn=""), "was never told"),
    ],
)
def test_what_may_never_be_is_found(row: Kept | None, page: Asked, words: str) -> None:
    assert any(words in finding for finding in findings(row, page)), findings(row, page)


def test_a_prefix_that_nobody_made_is_found() -> None:
    calls = [Call("home", "Why?", "Surely", " of rain.", "stop")]
    page = asked(shown="Surely of rain.", text="Surely of rain.")
    assert any("not what the engines made" in one for one in findings(kept("Surely of rain."), page, calls))
