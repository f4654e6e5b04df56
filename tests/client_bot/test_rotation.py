"""Keys rotate on the discord lane while people talk: put behind everywhere, then in front, with restarts, and no turn lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from redis.asyncio import Redis

from app.core import keys, redis
from app.core.config import settings
from app.services import estimate, turns
from app.wire import names
from app.wire.states import TurnState
from bots.api import use_api
from bots.sandbox.config import Config
from bots.sandbox.server import Sandbox, serving
from tests.client_bot.test_joined import node_of
from tests.fakes.llama import LlamaFake, Options, reply_text
from tests.server_bot.stage import Stage, introduce
from tests.support import caches
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until_async

TOKENS = 150


@asynccontextmanager
async def node(sandbox: Sandbox, server_bot: int, llama_url: str, folder: Path, line: str) -> AsyncIterator[None]:
    """Run a node with the keys of this line; it is ended as by SIGTERM."""
    running = node_of(sandbox, server_bot, llama_url, folder, node_keys=line, slots=4, drain_seconds=0.2)
    await asyncio.to_thread(running.start)
    try:
        yield
    finally:
        await asyncio.to_thread(running.stop)


async def test_keys_rotate_under_load(
    servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old, new = settings().keys.get_secret_value(), Fernet.generate_key().decode()
    behind, in_front = f"{old},{new}", f"{new},{old}"
    llama = LlamaFake(Options(rate=25.0, length=TOKENS, slots=8))
    llama_url = await llama.start()
    client = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
    asked: list[str] = []

    async def ask() -> None:
        """Somebody says something, and is being answered."""
        before = len(llama.bodies)
        asked.append((await asyncio.to_thread(ada.ask, ada.session())).turn)
        await until_async(lambda: asyncio.sleep(0, len(llama.bodies) > before))

    def lines(ring: str) -> str:
        monkeypatch.setenv("MEATLIZARD_KEYS", ring)
        caches.forget()
        return keys.node_keys("home")

    async with serving(Config(limits="off")) as sandbox:
        monkeypatch.setenv("MEATLIZARD_DISCORD_TOKEN", sandbox.token("Server-Bot"))
        monkeypatch.setenv("MEATLIZARD_DISCORD_GUILD", str(sandbox.guild))
        monkeypatch.setenv("MEATLIZARD_DISCORD_API", sandbox.api)
        caches.forget()
        use_api(sandbox.api)
        introduce(sandbox)
        stage: Any = Stage(sandbox, client, None)  # type: ignore[arg-type]
        bot = next(one.id for one in sandbox.world.store.applications.values() if one.name == "Server-Bot")
        # What a process says after each step, every other one can open, whichever is restarted first.
        for ring in (old, behind, in_front):
            line = lines(ring)
            async with stage.server_bot(), node(sandbox, bot, llama_url, tmp_path, line):
                await until_async(lambda: asyncio.to_thread(lambda: bool(estimate.slots())))
                await ask()
                await ask()
                if ring == in_front:
                    for turn in asked:
                        await stage.turn(turn, lambda row: TurnState(row.state).final)
                assert not stage.failed
    for turn in asked:
        row = await stage.turn(turn, lambda row: row.state == TurnState.DONE)
        assert row.lane == "discord"
        assert len(await asyncio.to_thread(turns.reply, turn)) > 0
    texts = {reply_text([one for one in body["messages"] if one["role"] != "assistant"], TOKENS) for body in llama.bodies}
    assert {await asyncio.to_thread(turns.reply, turn) for turn in asked} == texts
    refused: dict[bytes, bytes] = redis.client().hgetall(names.REFUSED)
    assert b"forged" not in refused, refused
    use_api()
    await llama.stop()
    await client.aclose()
