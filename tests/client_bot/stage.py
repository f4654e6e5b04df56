"""A sandbox, a scripted Server-Bot, a paced engine, and nodes that may be started, stopped and killed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from app.wire.envelope import NodeKeys, Ring
from bots.client.config import ClientSettings
from bots.client.door import DiscordDoor
from bots.sandbox import messages
from bots.sandbox.faults import Kind, Order
from bots.sandbox.server import Sandbox
from tests.client_bot.platform import NODE, Platform, until
from tests.fakes.llama import LlamaFake
from workers.inference.node import Node
from workers.inference.settings import NodeSettings

KEYS = NodeKeys.of(Ring.parse(Fernet.generate_key().decode()), NODE)


@dataclass
class Running:
    """A node with nothing but its door to Discord."""

    node: Node
    door: DiscordDoor

    async def stop(self) -> None:
        """As at SIGTERM."""
        await asyncio.to_thread(self.node.stop)

    async def kill(self) -> None:
        """End it in the middle of everything: nothing more is said, and nothing is put in order."""
        service = self.node._service
        assert service is not None

        def cut() -> None:
            ear = self.door.ear
            if ear is not None and ear.ws is not None:
                ear.ws.socket._response.close()
            service.cancel()

        self.node._loop.call_soon_threadsafe(cut)
        await until(service.done)
        await asyncio.to_thread(self.node.call, self.node.engine.stop())


@dataclass
class Stage:
    """Everybody who takes part."""

    sandbox: Sandbox
    platform: Platform
    llama: LlamaFake
    llama_url: str
    home: Path
    running: list[Running] = field(default_factory=list)

    def settings(self, **more: Any) -> NodeSettings:
        given: dict[str, Any] = {"node": NODE, "node_keys": KEYS.dump(), "llama_url": self.llama_url, "slots": 2}
        return NodeSettings(_env_file=None, **(given | more))  # type: ignore[call-arg]

    def client(self) -> ClientSettings:
        return ClientSettings(
            _env_file=None,  # type: ignore[call-arg]
            discord_token=self.sandbox.token("Client-Bot"),  # type: ignore[arg-type]
            discord_guild=self.sandbox.guild,
            discord_server_bot=self.platform.user.id,  # type: ignore[union-attr]
            discord_api=self.sandbox.api,
        )

    async def start(self, name: str = NODE, ready: bool = True, **more: Any) -> Running:
        """Start a node, and wait until the platform has heard that it is ready."""
        node = Node(self.settings(**more))
        door = DiscordDoor(node, self.client(), NODE, KEYS, self.home / "run" / f"{name}.discord.json")
        node.add(door)
        hellos = len(self.platform.hellos)
        await asyncio.to_thread(node.start)
        one = Running(node, door)
        self.running.append(one)
        if ready:
            await until(lambda: "ready" in [hello["state"] for hello in self.platform.hellos[hellos:]])
        return one

    async def cut(self, *, abrupt: bool = True) -> None:
        """Break the node's connection to the gateway."""
        for one in list(self.sandbox.world.connections):
            if one.session is not None and one.session.bot == self.platform.peer:
                await one.drop(None if abrupt else 4000)

    def fault(self, kind: Kind, **more: Any) -> None:
        """Let something go wrong for the node's bot."""
        self.sandbox.world.faults.add(Order(kind=kind, bot=self.platform.peer, **more))

    def say(self, member: str, channel: int, words: str) -> None:
        """Write as a person."""
        world = self.sandbox.world
        user = next(one.id for one in world.store.users.values() if one.name == member)
        messages.post(world, world.store.channels[channel], user, {"content": words}, {})

    def invalid(self) -> int:
        """How many requests Discord would hold against this machine."""
        return self.sandbox.world.limits.invalid("127.0.0.1")

    def posted(self, channel: int) -> int:
        """How many messages the node's bot has in a channel."""
        messages = self.sandbox.world.store.messages.values()
        return sum(one.channel == channel and one.author == self.platform.peer for one in messages)


@asynccontextmanager
async def connected(platform: Platform, token: str) -> AsyncIterator[None]:
    """Keep the platform's client connected."""
    async with platform:
        task = asyncio.create_task(platform.start(token))
        try:
            await until(lambda: task.done() or (platform._ready is not None and platform.is_ready()))
            assert not task.done()
            yield
        finally:
            await platform.close()
            with contextlib.suppress(asyncio.CancelledError):
                await task
