"""A sandbox with the Server-Bot and a scripted node in it, all in the test's loop; the tasks run without Celery."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import discord
from redis.asyncio import Redis

from app.core import redis
from app.core.db import transaction
from app.core.models import AuditRecord, Turn
from app.services import channels, dispatch, estimate, nodes
from app.wire import names
from app.wire.frames import FrameKind
from app.wire.states import TurnState
from bots.sandbox.faults import Kind, Order
from bots.sandbox.server import Sandbox
from bots.server import errands
from bots.server.bot import ServerBot
from tests.server_bot.scripted import ScriptedNode
from tests.support import tasks
from tests.support.waiting import PATIENCE, until_async


@dataclass
class Stage:
    """Everything a turn on the discord lane meets."""

    sandbox: Sandbox
    client: Redis
    node: ScriptedNode
    bots: list[ServerBot] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)

    @property
    def bot(self) -> ServerBot:
        return self.bots[0]

    @asynccontextmanager
    async def server_bot(self) -> AsyncIterator[ServerBot]:
        """Let a Server-Bot connect, and carry out what the platform asks of it."""
        ready = asyncio.Event()
        bot = ServerBot(lambda now: (ready.set if now else ready.clear)())
        async with running(bot, self.sandbox.token("Server-Bot")):
            async with asyncio.timeout(PATIENCE):
                await ready.wait()
            self.bots.append(bot)
            pump = asyncio.create_task(self._pump(bot))
            try:
                yield bot
            finally:
                pump.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pump
                self.bots.remove(bot)

    async def _pump(self, bot: ServerBot) -> None:
        doing: set[asyncio.Task[None]] = set()
        while True:
            answer: Any = await self.client.brpop([names.RELAY, names.TURNS], timeout=1)
            if answer is None:
                continue
            kind, arguments = tasks.read(answer[1])
            if kind == names.DISPATCH:
                await asyncio.to_thread(dispatch.dispatch)
            elif kind in ERRANDS:
                task = asyncio.create_task(self._do(ERRANDS[kind](bot, *arguments)))
                doing.add(task)
                task.add_done_callback(doing.discard)

    async def _do(self, errand: Any) -> None:
        try:
            await errand
        except Exception as error:
            self.failed.append(error)

    async def ready(self) -> None:
        """Wait until the node may be given turns."""
        await until_async(lambda: asyncio.to_thread(lambda: self.node.control()))
        self.node.server = self.bot.user.id  # type: ignore[union-attr]
        await self.node.hello()
        await until_async(lambda: asyncio.to_thread(lambda: bool(estimate.slots())))

    def fault(self, kind: Kind, **more: Any) -> None:
        """Let something go wrong."""
        self.sandbox.world.faults.add(Order(kind=kind, **more))

    def messages(self, channel: int, author: int | None = None) -> list[Any]:
        """What stands in a channel, the oldest first."""
        found = [one for one in self.sandbox.world.store.messages.values() if one.channel == channel]
        return sorted((one for one in found if author in (None, one.author)), key=lambda one: one.id)

    def posted(self) -> list[str]:
        """Which frames the node was sent, in order."""
        return [frame.kind.name for _, frame in self.node.heard]

    async def refused(self, reason: str, count: int = 1) -> None:
        """Wait until so many messages were refused for a reason."""

        def enough() -> bool:
            return int(redis.client().hget(names.REFUSED, reason) or 0) >= count

        await until_async(lambda: asyncio.to_thread(enough))

    async def turn(self, turn: str, is_so: Callable[[Turn], bool]) -> Turn:
        """Wait until a turn is as asked for, and return it."""

        def look() -> Turn | None:
            with transaction() as tx:
                row = tx.get(Turn, turn)
                return row if row is not None and is_so(row) else None

        found = await until_async(lambda: asyncio.to_thread(look))
        assert found is not None
        return found

    async def handled(self, channel: int, message: discord.Message) -> None:
        """Wait until a message is behind the watermark."""

        def look() -> bool:
            place = channels.at(channel)
            return place is not None and place.handled >= message.id

        await until_async(lambda: asyncio.to_thread(look))

    async def cut(self, bot: int, *, abrupt: bool = True) -> None:
        """Break a bot's connection to the gateway."""
        for one in list(self.sandbox.world.connections):
            if one.session is not None and one.session.bot == bot:
                await one.drop(None if abrupt else 4000)

    def audited(self) -> list[str]:
        """The reasons that the audit trail holds."""
        with transaction() as tx:
            return [row.details["reason"] for row in tx.query(AuditRecord).filter_by(action="frame.refused")]


ERRANDS: dict[str, Any] = {
    names.OPEN_SESSION: errands.open_session,
    names.CLOSE_SESSION: errands.close_session,
    names.POST_PROMPT: errands.post_prompt,
    names.POST_CONTROL: errands.post_control,
    names.POST_MIRROR: errands.post_mirror,
    names.SHOW_CHANNELS: errands.show_channels,
}
FINAL = frozenset(state.value for state in TurnState if state.final)
CLOSED = FrameKind.CLOSED


@asynccontextmanager
async def running(client: discord.Client, token: str) -> AsyncIterator[None]:
    """Keep a client connected for as long as the block runs."""
    async with client:
        task = asyncio.create_task(client.start(token))
        try:
            yield
        finally:
            # As the bridge does it: a client that is closed while it reconnects stumbles over itself.
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, discord.DiscordException):
                await task


def introduce(sandbox: Sandbox, name: str = "home") -> int:
    """Make a node of the discord lane known; return its bot's id."""
    bot = next(one.id for one in sandbox.world.store.applications.values() if one.name == "Client-Bot")
    nodes.register(name, 2, "discord")
    nodes.introduce(name, bot)
    return bot
