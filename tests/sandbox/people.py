"""Who takes part in the sandbox's tests: bots made of discord.py, raw sockets, and the control API's hand."""

import asyncio
import json
import zlib
from collections.abc import Callable
from typing import Any

import aiohttp
import discord
from discord import app_commands

from bots.sandbox.server import Sandbox
from tests.support.waiting import PATIENCE, until_async

INTENTS = discord.Intents(guilds=True, guild_messages=True, dm_messages=True, guild_typing=True)
SEEING = discord.Intents(guilds=True, guild_messages=True, members=True, message_content=True, dm_messages=True)


async def when(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until something holds."""

    async def look() -> Any:
        return condition()

    return await until_async(look, seconds)


class Refused(Exception):
    """The control API said no."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body)
        self.status = status
        self.code = body.get("code")
        self.body = body


class Control:
    """The control API."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self._url = f"{sandbox.url}/sandbox/"
        self._http = http
        self._headers = {"Authorization": f"Bearer {sandbox.world.store.state.control_token}"}

    async def __call__(self, name: str, /, **body: Any) -> Any:
        async with self._http.post(self._url + name, json=body, headers=self._headers) as response:
            return await self._read(response)

    async def get(self, name: str, /, **query: Any) -> Any:
        async with self._http.get(self._url + name, params=query, headers=self._headers) as response:
            return await self._read(response)

    async def say(self, member: str, channel: str | int, content: str, **more: Any) -> Any:
        return await self("messages", member=member, channel=str(channel), content=content, **more)

    @staticmethod
    async def _read(response: aiohttp.ClientResponse) -> Any:
        body = await response.json()
        if response.status >= 400:
            raise Refused(response.status, body)
        return body


class Bot(discord.Client):
    """A client that remembers what it heard; `await bot.up()` is when it is ready."""

    def __init__(self, token: str, guild: int, intents: discord.Intents = INTENTS, **options: Any) -> None:
        super().__init__(intents=intents, guild_ready_timeout=0.01, **options)
        self.tree = app_commands.CommandTree(self)
        self._secret = token
        self.home = discord.Object(guild)
        self.heard: list[discord.Message] = []
        self.edits: list[discord.Message] = []
        self.events: list[tuple[str, Any]] = []
        self.resumes = 0
        self.readies = 0
        self._task: asyncio.Task[None] | None = None

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """discord.py waits 5 s here for its own good; these tests have the window switched off or moved on."""

    async def up(self) -> "Bot":
        self._task = asyncio.create_task(self.start(self._secret))
        ready = asyncio.create_task(self._ready_now())
        await asyncio.wait([self._task, ready], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            await self._task
        assert self.is_ready()
        return self

    async def _ready_now(self) -> None:
        await when(lambda: hasattr(self, "_ready") and self.is_ready())

    async def down(self) -> None:
        await self.close()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=5)

    @property
    def guild(self) -> discord.Guild:
        guild = self.get_guild(self.home.id)
        assert guild is not None
        return guild

    def channel(self, name: str = "general") -> discord.TextChannel:
        return discord.utils.get(self.guild.text_channels, name=name)

    @property
    def said(self) -> list[str]:
        return [one.content for one in self.heard]

    async def on_ready(self) -> None:
        self.readies += 1

    async def on_resumed(self) -> None:
        self.resumes += 1

    async def on_message(self, message: discord.Message) -> None:
        self.heard.append(message)

    async def on_message_edit(self, _before: discord.Message, after: discord.Message) -> None:
        self.edits.append(after)

    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        self.events.append(("delete", event.message_id))

    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        self.events.append(("bulk", event.message_ids))

    async def on_typing(self, channel: Any, user: Any, _when: Any) -> None:
        self.events.append(("typing", user.name))

    async def on_guild_channel_create(self, channel: Any) -> None:
        self.events.append(("create", channel.name))

    async def on_guild_channel_delete(self, channel: Any) -> None:
        self.events.append(("gone", channel.name))

    async def on_guild_channel_update(self, before: Any, after: Any) -> None:
        self.events.append(("update", after.name))

    async def on_thread_create(self, thread: discord.Thread) -> None:
        self.events.append(("thread", thread.name))

    async def on_thread_join(self, thread: discord.Thread) -> None:
        self.events.append(("joined", thread.name))

    async def on_raw_thread_delete(self, event: Any) -> None:
        self.events.append(("thread gone", event.thread_id))


class Socket:
    """A gateway connection spoken by hand."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = websocket
        self._inflate = zlib.decompressobj()
        self.inflated = 0
        self.binary = 0

    async def read(self) -> dict[str, Any]:
        message = await self._ws.receive(timeout=PATIENCE)
        if message.type is aiohttp.WSMsgType.BINARY:
            self.binary += 1
            self.last_bytes = message.data
            return json.loads(self._inflate.decompress(message.data))
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data)

    async def until(self, event: str) -> dict[str, Any]:
        while (got := await self.read())["t"] != event:
            pass
        return got

    async def op(self, op: int) -> dict[str, Any]:
        while (got := await self.read())["op"] != op:
            pass
        return got

    async def send(self, op: int, data: Any) -> None:
        await self._ws.send_json({"op": op, "d": data})

    async def text(self, text: str) -> None:
        await self._ws.send_str(text)

    async def identify(self, token: str, intents: int = 1 << 0 | 1 << 9, **more: Any) -> dict[str, Any]:
        await self.send(2, {"token": token, "intents": intents, "properties": {}} | more)
        return await self.until("READY")

    async def closed(self) -> int:
        """The code it is closed with."""
        while True:
            message = await self._ws.receive(timeout=PATIENCE)
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                return self._ws.close_code

    async def close(self, code: int = 1000) -> None:
        await self._ws.close(code=code)
