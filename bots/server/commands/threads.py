"""The threads of `/chat`: what their owner says there is a turn, also what was said while nobody listened."""

import asyncio
import re
from typing import Any, Final

import discord
import structlog

from app.core import redis
from app.core.config import settings
from app.services import chats
from app.wire.errors import MeatLizardError
from bots.server.commands.errors import explained
from bots.server.commands.face import ASKING
from bots.server.commands.people import People
from bots.server.outbox import nonce

log = structlog.get_logger(__name__)

UNSEEN: Final = (
    "I am not shown what you write here unless you mention me: begin with {me}, or use `/ask`."
    " (An administrator can change that: the setting for the message content intent.)"
)


class Threads:
    """Takes what is said in each thread in its order, one turn after the other."""

    def __init__(self, client: discord.Client, people: People) -> None:
        self._client: Final = client
        self._people: Final = people
        self._locks: Final[dict[int, asyncio.Lock]] = {}
        self._behind: Final[set[int]] = set()
        self._hinted: Final[set[int]] = set()
        self._reading: Final[set[asyncio.Task[None]]] = set()

    async def catch_up(self) -> None:
        """Take in what was said while the gateway was away; does not wait for the replies."""
        for channel in await asyncio.to_thread(chats.threads):
            thread: Any = self._client.get_channel(channel)
            if isinstance(thread, discord.Thread):  # An archived one is told of when somebody speaks in it again.
                self._behind.add(channel)
                task = asyncio.create_task(self._next(thread, None), name=f"thread-{channel}")
                self._reading.add(task)
                task.add_done_callback(self._reading.discard)

    def close(self) -> None:
        """Stop taking in; what waits is found in the history after the next start."""
        for task in self._reading:
            task.cancel()

    async def heard(self, message: discord.Message) -> None:
        """Take in what somebody says, where it is their thread of `/chat`."""
        thread, me = message.channel, self._client.user
        if message.author.bot or not isinstance(thread, discord.Thread) or me is None or thread.owner_id != me.id:
            return
        # Nothing is asked before its lock is held: two messages would come out of it in any order.
        await self._next(thread, message)

    async def _next(self, thread: discord.Thread, message: discord.Message | None) -> None:
        async with self._locks.setdefault(thread.id, asyncio.Lock()):
            try:
                if thread.id in self._behind:
                    self._behind.discard(thread.id)
                    after = discord.Object(await asyncio.to_thread(chats.handled, thread.id))
                    async for one in thread.history(limit=None, after=after, oldest_first=True):
                        if not one.author.bot:
                            await self._take(thread, one)
                elif message is not None:
                    await self._take(thread, message)
            except (MeatLizardError, *redis.ERRORS, discord.DiscordException, OSError) as error:
                # Read again with the next word that is said here, or when the gateway is back.
                self._behind.add(thread.id)
                log.warning("thread.later", thread=thread.id, error=str(error) or type(error).__name__)

    async def _take(self, thread: discord.Thread, message: discord.Message) -> None:
        if message.id <= await asyncio.to_thread(chats.handled, thread.id):
            return
        if not await asyncio.to_thread(chats.in_thread, thread.id, message.author.id):
            return
        me = self._client.user
        assert me is not None
        words = re.sub(rf"<@!?{me.id}>", "", message.content).strip()
        showing = None
        if words:
            showing = await self._say(thread, message, words)
        elif not message.content and not settings().discord_content and thread.id not in self._hinted:
            self._hinted.add(thread.id)
            await thread.send(UNSEEN.format(me=me.mention))
        await asyncio.to_thread(chats.handled, thread.id, message.id)
        if showing is not None:
            await asyncio.wait([showing])

    async def _say(self, thread: discord.Thread, message: discord.Message, words: str) -> "asyncio.Task[None] | None":
        to = discord.MessageReference(message_id=message.id, channel_id=thread.id, fail_if_not_exists=False)
        more: dict[str, Any] = {"nonce": nonce("asking", message.id), "mention_author": False, "suppress_embeds": True}
        shown = await thread.send(ASKING, reference=to, **more)
        try:
            return await self._people.say(message, shown.id, words)
        except MeatLizardError as error:
            await shown.edit(content=explained(error))
            return None
