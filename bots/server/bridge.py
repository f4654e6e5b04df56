"""The way from Celery's threads to the loop on which discord.py lives, and back with what came of it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

import discord
import structlog
from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from bots.server.bot import ServerBot

log = structlog.get_logger(__name__)
T = TypeVar("T")

GATE_SECONDS: Final = 20.0
"""How long a task waits for the connection before it goes back to the queue."""
RESULT_SECONDS: Final = 60.0
"""How long a task waits for Discord; longer than discord.py's own five tries take."""
STOP_SECONDS: Final = 10.0


class NotReady(Exception):
    """There is no connection to Discord right now; the task is tried again."""


class Bridge:
    """Owns the loop's thread and, on it, one client; a client that ends is followed by a new one."""

    def __init__(self, token: str, make: Callable[[Callable[[bool], None]], ServerBot]) -> None:
        self._token: Final = token
        self._make: Final = make
        self._ready: Final = threading.Event()
        self._closing: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="discord", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None
        self._bot: ServerBot | None = None

    # Called from Celery's threads.

    def start(self) -> None:
        """Start the loop and let it connect; does not wait for that."""
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye to Discord and end the loop."""
        self._closing.set()
        if self._loop is not None and self._serving is not None:
            with contextlib.suppress(RuntimeError):  # The loop has ended by itself.
                self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(STOP_SECONDS)

    def call(self, work: Callable[[ServerBot], Coroutine[Any, Any, T]], seconds: float = RESULT_SECONDS) -> T:
        """Run something on the loop and return what came of it; raise NotReady, or TimeoutError after it was cancelled."""
        if not self._ready.wait(GATE_SECONDS) or self._closing.is_set():
            raise NotReady("Discord is not connected.")
        assert self._loop is not None
        assert self._bot is not None
        future = asyncio.run_coroutine_threadsafe(work(self._bot), self._loop)
        try:
            return future.result(seconds)
        except CancelledError as error:
            raise NotReady("The connection was closed.") from error
        except TimeoutError:
            # Whether Discord has it is not known: the nonce makes the next try harmless.
            future.cancel()
            raise

    @property
    def ready(self) -> bool:
        """Whether the gateway is connected."""
        return self._ready.is_set()

    # On the loop.

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._serving = asyncio.create_task(self._serve(), name="server-bot")
        if self._closing.is_set():
            return
        with contextlib.suppress(asyncio.CancelledError):
            await self._serving

    async def _serve(self) -> None:
        async for attempt in AsyncRetrying(wait=wait_random_exponential(multiplier=1, max=60), before_sleep=_tell):
            with attempt:
                self._bot = self._make(self._set_ready)
                try:
                    async with self._bot:
                        await self._bot.start(self._token)
                finally:
                    self._ready.clear()
                raise NotReady("the connection was closed")

    def _set_ready(self, ready: bool) -> None:
        (self._ready.set if ready else self._ready.clear)()


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, discord.LoginFailure):
        hint = "Discord refuses the token: put the Server-Bot's own into MEATLIZARD_DISCORD_TOKEN and restart it."
    else:
        hint = "Discord cannot be reached; nothing is lost, it is tried again."
    log.error("discord.away", error=str(error) or type(error).__name__, hint=hint)
