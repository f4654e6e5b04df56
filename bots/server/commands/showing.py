"""Showing one turn in Discord from its first word to its last, by edits within Discord's limits."""

import asyncio
import contextlib
from typing import Any, Final

import discord
import structlog
from redis.asyncio import Redis
from redis.exceptions import LockError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from app.core import keys, redis
from app.services import answers, dispatch, turns
from app.services.answers import Answer
from app.stream.follow import Follower
from app.stream.hub import Hub
from app.stream.telling import Telling
from app.wire import names
from app.wire.errors import Unavailable
from app.wire.events import Event
from bots.server.commands import buttons
from bots.server.commands.face import faces
from bots.server.commands.pace import Pace
from bots.server.commands.sheet import Gone, Sheet

log = structlog.get_logger(__name__)

LOCK_SECONDS: Final = 20.0
"""A Server-Bot that died leaves its replies to another one after so long."""
RENEW_SECONDS: Final = 5.0
SETTLE_SECONDS: Final = 1.0
"""After a restart the reply so far is read first: what stands there already must not shrink and grow again."""
AWAY: Final = (Unavailable, *redis.ERRORS)


class Showing:
    """One reply on its way into its messages."""

    def __init__(
        self,
        client: discord.Client,
        hub: Hub,
        store: Redis,
        pace: Pace,
        answer: Answer,
        interaction: discord.Interaction[Any] | None,
    ) -> None:
        assert answer.turn is not None
        self._turn: Final = answer.turn
        self._answer: Final = answer
        self._hub: Final = hub
        self._redis: Final = store
        self._pace: Final = pace
        self._resumed: Final = interaction is None
        self._sheet: Final = Sheet(client, answer.channel, list(answer.messages), self._turn, interaction)
        self._text = ""
        self._state: Event | None = None
        self._changed: Final = asyncio.Event()
        # At first only to offer Stop; after a restart that must wait until it is known how the turn stands.
        if not self._resumed:
            self._changed.set()

    async def run(self) -> None:
        """Show it until it is whole; does nothing where another Server-Bot shows it already."""
        lock = self._redis.lock(names.discord_answer(self._turn), timeout=LOCK_SECONDS, thread_local=False)
        if not await lock.acquire(blocking=False):
            return
        working = asyncio.create_task(self._work(), name=f"answer-{self._turn}")
        try:
            while not (await asyncio.wait([working], timeout=RENEW_SECONDS))[0]:
                await lock.reacquire()
                if not await asyncio.to_thread(answers.there, self._answer.id):
                    return  # Deleted with its session.
            await working
        except (LockError, *AWAY) as error:
            # It is taken up again, by us or by another, as soon as the servers are there.
            log.info("answer.later", turn=self._turn, error=str(error))
        finally:
            working.cancel()
            await asyncio.wait([working])
            with contextlib.suppress(LockError, *AWAY):
                await lock.release()

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                group.create_task(self._write())
        except* Gone:
            log.info("answer.gone", turn=self._turn, channel=self._answer.channel)
        await asyncio.to_thread(answers.over, self._answer.id)

    async def _follow(self) -> None:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(AWAY), wait=wait_random_exponential(multiplier=0.2, max=5)
        ):
            with attempt:
                await self._tell()

    async def _tell(self) -> None:
        follower = Follower(self._redis, self._hub, lambda author, of, attempt: keys.events(author, self._answer.session, of, attempt))
        telling = Telling(self._turn, follower, turns.ending, turns.reply, dispatch.place)
        async with contextlib.aclosing(telling.events()) as events:
            async for event in events:
                self._text, self._state = telling.text.decode(errors="replace"), event
                self._changed.set()

    async def _write(self) -> None:
        if self._resumed:
            await asyncio.sleep(SETTLE_SECONDS)
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._next() is not None:
                await self._pace.wait(self._answer.channel)
                await self._step()
            if self._over and not self._changed.is_set():
                return

    @property
    def _over(self) -> bool:
        return self._state is not None and self._state.kind.final

    def _next(self) -> int | None:
        return self._sheet.next(faces(self._answer.prompt, self._text, self._state), final=self._over)

    async def _step(self) -> None:
        """Bring one message up to date, with all that has come until now."""
        wanted = faces(self._answer.prompt, self._text, self._state)
        index = self._sheet.next(wanted, final=self._over)
        if index is None:
            return
        face = wanted[index] if index < len(wanted) else None
        view = buttons.view(face.buttons, self._turn, self._answer.session) if face else None
        count = len(self._sheet.messages)
        await self._sheet.put(index, face, view)
        if len(self._sheet.messages) != count:
            await asyncio.to_thread(answers.shown_in, self._answer.id, self._sheet.messages)
