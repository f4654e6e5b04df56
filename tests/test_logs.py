"""Log lines: one an event, words in a terminal and JSON elsewhere, with the ids that were bound."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from app import logs


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What goes to stderr while `speak` speaks; the root logger is as before afterwards."""
    root, found = logging.getLogger(), io.StringIO()
    before = root.handlers[:], root.level
    yield found
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def speak(said: io.StringIO, *form: str) -> None:
    with contextlib.redirect_stderr(said):
        logs.configure("web", "INFO", *form)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(turn="t-1", session="s-1")
    structlog.get_logger("ours").info("turn.ended", state="done")
    logging.getLogger("theirs").warning("something\nin two lines")
    try:
        password = "SECRET"
        raise ValueError("odd")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
    assert password


def test_json_is_one_object_a_line_with_the_ids(said: io.StringIO) -> None:
    speak(said, "json")
    ours, theirs, failed = [json.loads(line) for line in said.getvalue().splitlines()]
    assert (ours["event"], ours["process"], ours["turn"], ours["session"]) == ("turn.ended", "web", "t-1", "s-1")
    assert (theirs["level"], theirs["turn"]) == ("warning", "t-1")
    assert "ValueError: odd" in failed["exception"]
    assert "SECRET" not in failed["exception"], "what a function held is nobody's business"


def test_a_terminal_gets_words(said: io.StringIO) -> None:
    speak(said, "terminal")
    assert "turn.ended" in said.getvalue()
    assert not said.getvalue().startswith("{")


def test_auto_looks_where_it_leads(said: io.StringIO) -> None:
    speak(said)
    assert said.getvalue().startswith("{")
