"""The exactly-once rule of a reader: the length of the text it has shown is its place in the reply."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from app.wire.events import Event
from app.wire.states import EventKind


class Gap(Exception):
    """A delta begins after the text the reader has: what lies between must be read from the stream."""


@dataclass(slots=True)
class Cursor:
    """Where one reader stands in one turn's reply, and in the stream it comes from."""

    have: int = 0
    """Bytes of the reply that were shown."""
    attempt: int = 0
    """The newest attempt that was seen."""
    seen: str = "0-0"
    """The newest entry of the stream that was read."""
    ended: bool = False

    def take(self, event: Event) -> Iterator[Event]:
        """Yield what of an event is new to the reader, cut to fit; raise Gap where something is missing before it."""
        if self.ended or event.attempt < self.attempt:
            return
        if event.kind is EventKind.STARTED:
            if event.attempt > self.attempt:
                at = event.at or 0
                if at > self.have:
                    raise Gap  # It goes on from a text that the reader has not seen whole.
                # The attempt takes the reply up here; what an older one wrote after this place no longer counts.
                self.attempt, self.have = event.attempt, at
                yield event
            return
        if event.kind is not EventKind.DELTA:
            # An end says how long the reply is: with less than that shown, the last deltas have not come.
            if event.kind.final and event.at is not None and (event.attempt > self.attempt or event.at > self.have):
                raise Gap
            self.ended = event.kind.final
            yield event
            return
        if event.attempt > self.attempt:
            raise Gap  # Where this attempt took the reply up was said in a `started` that did not come.
        start, text = event.at or 0, event.text or ""
        if event.end <= self.have:
            return
        if start > self.have:
            raise Gap
        if start < self.have:
            # Cursors only ever stand where a delta ended, so this cuts between characters; a made-up one may not.
            text = text.encode()[self.have - start :].decode(errors="replace")
            event = replace(event, at=self.have, text=text)
        self.have = event.end
        yield event
