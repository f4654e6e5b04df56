"""A reader sees each byte of a reply once, whatever was dropped, doubled, re-ordered or cut on the way."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.stream.cursor import Cursor, Gap
from app.wire.events import Event
from app.wire.states import EventKind

TURN = "t"


def started(attempt: int, at: int = 0) -> Event:
    return Event(EventKind.STARTED, TURN, attempt, at)


def delta(attempt: int, at: int, text: str) -> Event:
    return Event(EventKind.DELTA, TURN, attempt, at, text)


def done(attempt: int, at: int | None = None) -> Event:
    return Event(EventKind.DONE, TURN, attempt, at)


pieces = some.lists(some.text(min_size=1, max_size=6), max_size=8)


@some.composite
def histories(draw: some.DrawFn) -> tuple[list[Event], str]:
    """A stream as it is written: attempts that take the reply up where they like, the last one to its end."""
    events: list[Event] = []
    text = ""
    for attempt in range(1, draw(some.integers(1, 3)) + 1):
        kept = draw(some.integers(0, len(text)))
        text = text[:kept]
        events.append(started(attempt, len(text.encode())))
        for piece in draw(pieces):
            events.append(delta(attempt, len(text.encode()), piece))
            text += piece
    return [*events, done(attempt, len(text.encode()))], text


class Reader:
    """A follower without Redis: it takes live events as they come, and replays what is written so far after a gap."""

    def __init__(self) -> None:
        self.cursor, self.text = Cursor(), bytearray()

    def take(self, event: Event) -> None:
        for new in self.cursor.take(event):
            if new.kind is EventKind.STARTED:
                assert new.at is not None
                del self.text[new.at :]
            elif new.kind is EventKind.DELTA:
                assert new.at == len(self.text)
                self.text += (new.text or "").encode()

    def replay(self, events: list[Event]) -> None:
        for event in events:
            try:
                self.take(event)
            except Gap:
                continue

    def live(self, event: Event, written: list[Event]) -> None:
        try:
            self.take(event)
        except Gap:
            self.replay(written)


@given(histories(), some.data())
def test_every_byte_once(history: tuple[list[Event], str], choice: some.DataObject) -> None:
    events, text = history
    reader = Reader()
    for number, event in enumerate(events):
        written = events[: number + 1]
        for _ in range(choice.draw(some.integers(0, 2), label="copies")):
            reader.live(event, written)
        if choice.draw(some.booleans(), label="an older one comes late"):
            reader.live(choice.draw(some.sampled_from(written)), written)
        if choice.draw(some.booleans(), label="replay"):
            reader.replay(written)
    reader.replay(events)
    assert reader.text.decode() == text
    assert reader.cursor.ended


@given(histories(), some.data())
def test_deltas_cut_elsewhere_make_the_same_text(history: tuple[list[Event], str], choice: some.DataObject) -> None:
    """A node that seeds a lost stream again cuts its text at other places."""
    events, text = history
    last = events[-1].attempt
    cuts = sorted({0, len(text), *choice.draw(some.lists(some.integers(0, len(text)), max_size=5))})
    seeded = [started(last)]
    for begin, end in pairwise(cuts):
        seeded.append(delta(last, len(text[:begin].encode()), text[begin:end]))
    reader = Reader()
    reader.replay(events[: choice.draw(some.integers(0, len(events) - 1))])
    reader.replay([*seeded, done(last, len(text.encode()))])
    assert reader.text.decode() == text


def test_nothing_follows_the_end() -> None:
    cursor = Cursor()
    assert list(cursor.take(done(1)))
    assert not list(cursor.take(delta(1, 0, "late")))
    assert not list(cursor.take(started(2)))


def test_an_older_attempt_is_not_heard() -> None:
    cursor = Cursor()
    list(cursor.take(started(2)))
    assert not list(cursor.take(delta(1, 0, "old")))
    assert not list(cursor.take(started(1)))
    assert not list(cursor.take(done(1)))
    assert not cursor.ended


def test_a_hole_is_a_gap() -> None:
    cursor = Cursor()
    list(cursor.take(started(1)))
    list(cursor.take(delta(1, 0, "one")))
    with pytest.raises(Gap):
        list(cursor.take(delta(1, 4, "three")))


def test_an_attempt_whose_beginning_was_missed_is_a_gap() -> None:
    cursor = Cursor()
    list(cursor.take(started(1)))
    with pytest.raises(Gap):
        list(cursor.take(delta(2, 0, "x")))


def test_an_end_before_which_text_is_missing_is_a_gap() -> None:
    cursor = Cursor()
    list(cursor.take(started(1)))
    with pytest.raises(Gap):
        list(cursor.take(done(1, 5)))
    with pytest.raises(Gap):
        list(cursor.take(done(2, 5)))
    assert not cursor.ended


def test_an_end_without_text_is_heard_even_where_its_beginning_was_not() -> None:
    cursor = Cursor()
    assert [event.kind for event in cursor.take(done(3))] == [EventKind.DONE]
