"""How long discord.py keeps this process waiting for Discord's rate limits: no longer than it must, counted, and told."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import discord.http
from discord.webhook import async_ as asynchronous

Tell = Callable[[float], None]

REFUSED: Final = ("We are being rate limited. %s %s responded with 429. Retrying in", "Webhook ID %s is rate limited. Retrying in")
"""How discord.py's lines about a 429 begin, for requests and for answers to commands; their last argument is the seconds
that it waits now. A line that it raises instead of waiting begins otherwise, and one about all requests comes beside it."""
LOGS: Final = ("discord.http", "discord.webhook.async_")

_tells: Final[list[Tell]] = []
_total: Final = [0.0]


def count(tell: Tell | None = None) -> None:
    """Count from now on, in each client that connects later; tell each wait in seconds, as it ends, where that is wished.

    A wait is either the rest of a bucket's window, which discord.py sits out before Discord refuses anything, or what
    Discord asked for with a 429. Those who queue behind one wait are not counted again.
    """
    discord.http.Ratelimit = Bucket  # type: ignore[misc]  # discord.py makes its buckets by this name, and has no hook.
    asynchronous.AsyncDeferredLock = Lock  # type: ignore[misc]
    for name in LOGS:
        logging.getLogger(name).addFilter(_REFUSALS)
    if tell is not None and tell not in _tells:
        _tells.append(tell)


def seconds() -> float:
    """Return how long this process has waited in all."""
    return _total[0]


def _waited(seconds: float) -> None:
    _total[0] += seconds
    for tell in _tells:
        tell(seconds)


class Bucket(discord.http.Ratelimit):
    """A bucket that counts how long it was slept out; only one request at a time sleeps over it.

    A client with a `max_ratelimit_timeout` is refused by discord.py for as long as the window lasts, though it have room: of
    fifty threads that Discord allows in five minutes, the second. Here it is refused only where it would have to wait.
    """

    async def acquire(self) -> None:
        """Take room at once where there is some."""
        if self.remaining <= 0 or self.is_expired():
            await super().acquire()
            return
        self._last_request = asyncio.get_running_loop().time()
        self.remaining -= 1
        self.outgoing += 1

    async def __aexit__(self, *error: Any) -> None:
        room = self.remaining - self.outgoing + 1
        if room <= 0 or self._sleeping.locked():
            await super().__aexit__(*error)
            return
        self.outgoing -= 1
        self._wake(room)

    async def _refresh(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await super()._refresh()
        finally:
            _waited(loop.time() - began)


class Lock(asynchronous.AsyncDeferredLock):
    """A bucket of the answers to one command, which its last request sleeps out."""

    async def __aexit__(self, *error: Any) -> None:
        delta = self.delta
        await super().__aexit__(*error)
        if delta:
            _waited(delta)


class _Refusals(logging.Filter):
    """Reads the waits for a 429 off discord.py's own lines, whatever becomes of them; keeps none back.

    A filter of the logger, since a handler would also need to be kept over whatever sets up the logs.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith(REFUSED) and isinstance(record.args, tuple):
            _waited(float(str(record.args[-1])))
        return True


_REFUSALS: Final = _Refusals()
