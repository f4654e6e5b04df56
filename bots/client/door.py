"""The discord lane's door of a node: keeps the Client-Bot connected, and everything that outlives a connection."""

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path
from typing import Final

import aiohttp
import discord
import structlog
from tenacity import AsyncRetrying, RetryCallState, wait_exponential_jitter

from app.wire.envelope import NodeKeys
from bots import waits
from bots.api import use_api
from bots.client.clock import DiscordClock
from bots.client.config import ClientSettings
from bots.client.desk import Desk
from bots.client.ear import Ear
from bots.client.herald import EVERY_SECONDS, STOPPED, Herald
from bots.client.host import Host
from bots.client.logins import Logins
from bots.client.memory import Memory
from bots.client.poster import ChannelClosed, Poster
from bots.client.speaker import Speaker

log = structlog.get_logger(__name__)

SAVE_SECONDS: Final = 1.0
END_SECONDS: Final = 4.0
"""How long the last frames may take when the node goes down."""
CONFIRM_SECONDS: Final = 2.0
"""How long a finished turn may then take to be confirmed."""
FAREWELL_SECONDS: Final = 6.0
"""How long all of the end may take where only "stopped" is left to say: a channel takes five messages in five seconds, and
hellos may have used them up. Unsaid, the platform gives this node turns for another minute."""
AWAY_MOST_SECONDS: Final = 10.0
"""Longest pause before the next try to connect: people wait, and asking costs nothing until Discord answers."""
REFUSED_SECONDS: Final = 600.0
"""Pause after what only a person can mend."""


class DiscordDoor:
    """Takes prompts from the channels and answers there."""

    def __init__(self, host: Host, settings: ClientSettings, node: str, keys: NodeKeys, memory: Path) -> None:
        use_api(settings.discord_api)
        waits.count()
        self._host: Final = host
        self._settings: Final = settings
        self._node: Final = node
        self._keys: Final = keys
        self.refused: Final[Counter[str]] = Counter()
        """How many messages were refused, by reason."""
        self._clock: Final = DiscordClock()
        self._memory: Final = Memory(memory)
        self._speakers: Final[dict[int, tuple[Speaker, asyncio.Task[None]]]] = {}
        self._ear: Ear | None = None
        self._post: Final = Poster(settings.discord_guild, settings.discord_server_bot, keys, lambda: self._ear)
        self.desk: Final = Desk(host, self._memory, self._speaker, self.refused, self._clock.now)
        self._herald = self._new_herald()
        self.stood_down = False
        """Whether another Client-Bot had this one's token before it."""
        self._logins: Final = Logins()

    @property
    def ear(self) -> Ear | None:
        """The connection there is."""
        return self._ear

    async def serve(self) -> None:
        """Be connected and listen until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stay_connected())
                group.create_task(self._keep())
                group.create_task(self._look())
        finally:
            self.desk.end()
            for _, task in self._speakers.values():
                task.cancel()
            self._speakers.clear()

    async def tell(self) -> None:
        """Say hello anew."""
        self._herald.tell()

    async def close(self) -> None:
        """Say what is left to say, and that the node is gone."""
        until = time.monotonic() + FAREWELL_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await asyncio.gather(*(_either(reply.ended, reply.over) for reply in self.desk.replies))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONFIRM_SECONDS):
                await asyncio.gather(*(reply.over.wait() for reply in self.desk.replies))
        try:
            async with asyncio.timeout(max(CONFIRM_SECONDS, until - time.monotonic())):
                await self._herald.say(STOPPED)
        except (TimeoutError, ChannelClosed, discord.DiscordException, OSError) as error:
            log.warning("discord.no_farewell", error=str(error) or type(error).__name__)
        await self._memory.save()

    async def _stay_connected(self) -> None:
        while True:
            async for attempt in AsyncRetrying(wait=_pause, before_sleep=_say):
                with attempt:
                    await self._logins.room()
                    await self._connect()

    async def _connect(self) -> None:
        """Be connected once; return when a connection was lost that had worked, raise what kept it from working."""
        ear = Ear(self._settings, self._keys, self.desk, self._herald, self._memory, self._clock, self.refused)
        try:
            await ear.login(self._settings.discord_token.get_secret_value())
        except BaseException:
            await ear.close()
            raise
        self._logins.count()
        self._ear = ear
        hello = asyncio.create_task(self._herald.run())
        elder = asyncio.create_task(self._herald.elder.wait())
        # Not by discord.py itself, whose pauses grow to a quarter of an hour; it still resumes where Discord lets it.
        connection = asyncio.create_task(ear.connect(reconnect=False))
        try:
            await asyncio.wait((connection, elder), return_when=asyncio.FIRST_COMPLETED)
            if elder.done():
                self.desk.abandon()
                self.stood_down = True
                self._herald = self._new_herald()
                raise StoodDown
            connection.result()
            raise ConnectionError("the connection was closed")
        except (OSError, TimeoutError, aiohttp.ClientError, discord.GatewayNotFound) as error:
            if not ear.worked:
                raise
            log.warning("discord.lost", error=str(error) or type(error).__name__)
        finally:
            self._herald.channel = None
            for task in (hello, elder):
                task.cancel()
            self._ear = None
            await ear.close()
            connection.cancel()
            await asyncio.wait((connection,))

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            try:
                await self._memory.save()
            except OSError as error:
                log.error("memory.unsaved", error=str(error))
            for channel, (speaker, task) in list(self._speakers.items()):
                if speaker.rested:
                    task.cancel()
                    del self._speakers[channel]

    async def _look(self) -> None:
        """Look at the history now and then: an event can be lost though the connection stays."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            if self._ear is not None and self._ear.is_ready():
                await self._ear.catch_up()

    def _speaker(self, channel: int) -> Speaker:
        known = self._speakers.get(channel)
        if known is None:
            speaker = Speaker(channel, self._post)
            known = self._speakers[channel] = (speaker, asyncio.create_task(speaker.run()))
        return known[0]

    def _new_herald(self) -> Herald:
        return Herald(self._node, self._host, self._post, self._clock, self.refused, self._delete)

    async def _delete(self, channel: int, message: int) -> None:
        if self._ear is not None:
            await self._ear.http.delete_message(channel, message)


class StoodDown(Exception):
    """Another Client-Bot was there before, with the same token."""


_growing: Final = wait_exponential_jitter(multiplier=0.5, max=AWAY_MOST_SECONDS)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(
        error, (StoodDown, discord.LoginFailure, discord.ConnectionClosed, discord.PrivilegedIntentsRequired)
    ):
        return REFUSED_SECONDS
    return _growing(state)


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, StoodDown):
        hint = "Another Client-Bot answers with this token: stop one of the two, or give this node a bot of its own."
        log.error("discord.stood_down", hint=hint)
    elif isinstance(error, discord.LoginFailure):
        log.error("discord.refused", hint="Discord refuses MEATLIZARD_DISCORD_TOKEN: put this node's bot token there.")
    elif isinstance(error, (OSError, TimeoutError, aiohttp.ClientError, discord.DiscordException)):
        hint = "Discord cannot be reached; it is tried again."
        log.warning("discord.away", error=str(error) or type(error).__name__, hint=hint)
    else:
        log.error("discord.failed", exc_info=error)


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    tasks = [asyncio.create_task(one.wait()), asyncio.create_task(other.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
