"""What the Client-Bot remembers over restarts: which attempts it has begun, and how far it has read each channel."""

import asyncio
import hashlib
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import orjson
import structlog

from app.wire.frames import MAX_AGE_SECONDS, SKEW_SECONDS

log = structlog.get_logger(__name__)

FORMAT: Final = 1
KEEP_SECONDS: Final = MAX_AGE_SECONDS + 2 * SKEW_SECONDS
"""Longer than any frame is believed: what is forgotten cannot be repeated any more."""
ENVELOPES: Final = 1000
"""Envelopes of the Server-Bot that are remembered: hours of a busy node; the file is written whole, so no more."""
MARK_LENGTH: Final = 32
"""Hexadecimal digits of an envelope's hash that tell it from all others."""
CHANNELS: Final = 1000
"""Twice what a guild can have; the longest unread are forgotten first."""


@dataclass(slots=True)
class Turn:
    """The newest attempt at a turn that was heard of."""

    attempt: int
    seen: float
    """When, in seconds since 1970 by this machine's clock."""
    begun: bool = False
    stopped: bool = False
    closed: bool = False


@dataclass(slots=True)
class _State:
    format: int = FORMAT
    turns: dict[str, Turn] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    """The last message of each channel that was fully handled, as were all before it."""
    envelopes: dict[str, int] = field(default_factory=dict)
    """The message in which each envelope stood first, by its hash, the oldest first."""


class Memory:
    """Kept in a small file that is replaced whole, so that a power cut leaves the old one or the new one."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._state = _read(path)
        self._saved = b""
        self._saving: Final = asyncio.Lock()

    def turn(self, turn: str) -> Turn | None:
        """Return what is known of a turn."""
        return self._state.turns.get(turn)

    def begin(self, turn: str, attempt: int) -> bool:
        """Note that an attempt is begun; False where it was before, or is over, or a newer one is known."""
        known = self.turn(turn)
        if known is not None and known.attempt >= attempt and (known.attempt > attempt or known.begun or known.closed):
            return False
        stopped = known is not None and known.stopped and attempt == known.attempt
        self._state.turns[turn] = Turn(attempt, time.time(), begun=True, stopped=stopped)
        return True

    def stop(self, turn: str, attempt: int) -> None:
        """Note that an attempt is to end, also one that has not come yet: messages may change places."""
        known = self.turn(turn)
        if known is None or attempt > known.attempt:
            self._state.turns[turn] = Turn(attempt, time.time(), stopped=True)
        elif attempt == known.attempt:
            known.stopped = True

    def close(self, turn: str, attempt: int) -> None:
        """Note that an attempt is over; the turn may go on with a newer one."""
        known = self.turn(turn)
        if known is None or attempt >= known.attempt:
            self._state.turns[turn] = Turn(attempt, time.time(), begun=True, closed=True)

    def elsewhere(self, envelope: str, message: int) -> bool:
        """Say whether an envelope stood in another message before, and note it: each is sealed for one message."""
        known = self._state.envelopes
        first = known.setdefault(hashlib.sha256(envelope.encode()).hexdigest()[:MARK_LENGTH], message)
        while len(known) > ENVELOPES:
            del known[next(iter(known))]
        return first != message

    def watermark(self, channel: int) -> int | None:
        """Return how far a channel was read; None where it never was."""
        return self._state.channels.get(str(channel))

    def read(self, channel: int, message: int) -> None:
        """Note that a channel was read up to and with a message; it never goes back."""
        channels = self._state.channels
        newest = max(message, channels.pop(str(channel), 0))
        channels[str(channel)] = newest
        while len(channels) > CHANNELS:
            del channels[next(iter(channels))]

    def forget_channel(self, channel: int) -> None:
        """Forget a channel that is gone."""
        self._state.channels.pop(str(channel), None)

    async def save(self) -> None:
        """Bring it to disk; returns when all that was noted before is there."""
        async with self._saving:
            self._tidy()
            data = orjson.dumps(asdict(self._state))
            if data != self._saved:
                await asyncio.to_thread(_write, self._path, data)
                self._saved = data

    def _tidy(self) -> None:
        old = time.time() - KEEP_SECONDS
        for turn in [turn for turn, one in self._state.turns.items() if one.seen < old]:
            del self._state.turns[turn]


def _read(path: Path) -> _State:
    try:
        found = orjson.loads(path.read_bytes())
        if found["format"] != FORMAT:
            raise ValueError("another format")
        turns = {turn: Turn(**one) for turn, one in found["turns"].items()}
        channels = {channel: int(last) for channel, last in found["channels"].items()}
        # An earlier version kept no envelopes.
        return _State(FORMAT, turns, channels, {mark: int(first) for mark, first in found.get("envelopes", {}).items()})
    except FileNotFoundError:
        return _State()
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        # The seal and the platform's fence still hold; only what was missed before is not looked for further back.
        log.warning("memory.unreadable", path=str(path), error=str(error))
        return _State()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        fresh.chmod(0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
