"""A sandbox of one's own for each test, and everyone who comes to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import discord
import pytest

from bots.api import use_api
from bots.sandbox.clock import Clock
from bots.sandbox.config import Config
from bots.sandbox.server import Sandbox, serving
from tests.sandbox.people import INTENTS, Bot, Control, Socket

Invite = Callable[..., Awaitable[Bot]]
Dial = Callable[..., Awaitable[Socket]]


@pytest.fixture
def config() -> Config:
    """Without limits; tests of limits override it."""
    return Config(limits="off")


@pytest.fixture
async def sandbox(config: Config) -> AsyncIterator[Sandbox]:
    """A running sandbox that discord.py is pointed at."""
    async with serving(config, Clock()) as sandbox:
        use_api(sandbox.api)
        yield sandbox
    use_api()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Plain HTTP."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def control(sandbox: Sandbox, http: aiohttp.ClientSession) -> Control:
    """The control API."""
    return Control(sandbox, http)


@pytest.fixture
async def invite(sandbox: Sandbox) -> AsyncIterator[Invite]:
    """Brings a bot up by the name of its application."""
    async with AsyncExitStack() as stack:

        async def come(name: str = "Server-Bot", intents: discord.Intents = INTENTS, **options: Any) -> Bot:
            bot = Bot(sandbox.token(name), sandbox.guild, intents, **options)
            stack.push_async_callback(bot.down)
            return await bot.up()

        yield come


@pytest.fixture
async def server(invite: Invite) -> Bot:
    """The Server-Bot."""
    return await invite("Server-Bot")


@pytest.fixture
async def client(invite: Invite) -> Bot:
    """The Client-Bot."""
    return await invite("Client-Bot")


@pytest.fixture
async def dial(sandbox: Sandbox, http: aiohttp.ClientSession) -> AsyncIterator[Dial]:
    """Opens a gateway connection by hand, past the hello."""
    async with AsyncExitStack() as stack:

        async def call(**query: str) -> Socket:
            websocket = await http.ws_connect(sandbox.world.gateway_url, params={"v": "10"} | query, autoclose=False)
            stack.push_async_callback(websocket.close)
            socket = Socket(websocket)
            assert (await socket.read())["op"] == 10
            return socket

        yield call


@pytest.fixture
def rest(sandbox: Sandbox, http: aiohttp.ClientSession) -> Callable[..., Awaitable[tuple[int, Any, Any]]]:
    """A REST request by hand: status, body, headers."""

    async def ask(method: str, path: str, bot: str = "Server-Bot", **more: Any) -> tuple[int, Any, Any]:
        headers = {"Authorization": f"Bot {sandbox.token(bot)}"} | more.pop("headers", {})
        async with http.request(method, sandbox.api + path, headers=headers, **more) as response:
            body = await response.json() if response.content_type == "application/json" else await response.text()
            return response.status, body, response.headers

    return ask
