"""Wires of ours before the servers, so that a test can cut, deafen or redirect them."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.core import redis
from app.core.config import settings
from tests.faults.proxy import Proxy, Wire
from tests.support import caches
from tests.support.nodes import PlayedNode
from tests.support.servers import Servers
from tests.support.waiting import PATIENCE
from tests.support.website import Site, serving


class OwnLoop:
    """A loop in a thread of its own: the test's loop waits for servers in plain calls now and then."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires", daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


@dataclass
class Line:
    """A wire before one server."""

    proxy: Proxy
    loop: OwnLoop

    def become(self, wire: Wire) -> None:
        async def change() -> None:
            self.proxy.become(wire)

        self.loop.run(change())

    @property
    def asked(self) -> int:
        """Connections that were tried."""
        return self.proxy.asked

    def lead_to(self, port: int) -> None:
        """Let new connections go there."""
        self.proxy.targets[:] = [port]


@dataclass
class Wires:
    """One before each server that people's words pass."""

    redis: Line
    postgres: Line


@pytest.fixture
def wires(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wires]:
    """The platform, in this process and in those that inherit its environment, goes through them; `servers` does not."""
    loop, dice, made = OwnLoop(), random.Random(1), {}
    for name, port in (("REDIS_URL", servers.settings.redis_port), ("DATABASE_URL", servers.settings.postgres_port)):
        made[name] = Line(Proxy(name, port, dice), loop)
        own = loop.run(made[name].proxy.start())
        monkeypatch.setenv(f"MEATLIZARD_{name}", servers.settings.values[name].replace(f":{port}", f":{own}"))
    caches.forget()
    assert str(made["REDIS_URL"].proxy.port) in settings().redis_url.get_secret_value()
    yield Wires(made["REDIS_URL"], made["DATABASE_URL"])
    caches.forget()
    for line in made.values():
        loop.run(line.proxy.stop())
    loop.stop()


@pytest.fixture
async def site(wires: Wires) -> AsyncIterator[Site]:
    """The web process, behind them."""
    async with serving() as site:
        yield site


@pytest.fixture
async def played(wires: Wires) -> AsyncIterator[PlayedNode]:
    """A node behind them."""
    client = redis.async_client()
    node = PlayedNode("home", client)
    await node.come_up()
    yield node
    await client.aclose()
