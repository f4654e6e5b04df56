"""While the broker refuses everybody, each process knocks now and then, and never spins; afterwards it works again."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.core import keys, redis
from app.services import nodes, turns
from app.wire import names
from tests.faults.proxy import Wire
from tests.outages.conftest import Wires
from tests.support.containers import ProcessContainer
from tests.support.long import LONG
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until
from tests.workers.conftest import Engine, engine

__all__ = ("engine",)
SECONDS = 30.0 if LONG else 2.0
"""How long nobody is let in, once the processes have noticed."""
A_SECOND = 10
"""Connections that each process may try: a hundred times fewer than one that spins."""


@pytest.fixture
def processes(servers: Servers, wires: Wires, engine: Engine, tmp_path: Path) -> Iterator[dict[str, ProcessContainer]]:
    """A worker and a node, behind the wires."""
    nodes.register("home", 2)
    url = servers.add_node("home", NODE_KEYS=keys.node_keys("home"), LLAMA_URL=engine.url, SLOTS="2", CTX_SIZE="4096")
    inherited = {"MEATLIZARD_HOME": str(servers.home.path)}
    behind = url.replace(f":{servers.settings.redis_port}", f":{wires.redis.proxy.port}")
    worker = {"MEATLIZARD_REDIS_URL": servers.settings.redis_url.replace(str(servers.settings.redis_port), str(wires.redis.proxy.port))}
    made = {
        "worker": ProcessContainer("worker", ["worker"], tmp_path, inherited | worker, " ready."),
        "node": ProcessContainer("home", ["node", "--name", "home"], tmp_path, inherited | {"MEATLIZARD_REDIS_URL": behind}, " ready."),
    }
    yield made
    for process in made.values():
        process.teardown()
    for file in servers.home.nodes.glob("*.env"):
        file.unlink()


async def test_nobody_spins(wires: Wires, processes: dict[str, ProcessContainer], ada: Member) -> None:
    for process in processes.values():
        await asyncio.to_thread(process.ready)
    await asyncio.to_thread(until, lambda: redis.client().hget(names.node_key("home"), "state") == b"ready")
    connected = wires.redis.asked
    wires.redis.become(Wire.CUT)
    await asyncio.to_thread(until, lambda: wires.redis.asked > connected)
    asked, busy = wires.redis.asked, _cpu(processes)
    await asyncio.sleep(SECONDS)  # The outage itself.
    asked, busy = wires.redis.asked - asked, _cpu(processes) - busy
    print(f"{asked} connections tried and {busy:.1f} s of processor in {SECONDS:.0f} s, by {len(processes)} processes")
    assert 0 < asked <= A_SECOND * SECONDS * len(processes)
    wires.redis.become(Wire.WHOLE)
    turn = await asyncio.to_thread(lambda: ada.ask(ada.session()).turn)
    await asyncio.to_thread(until, lambda: turns.ending(turn), 60, lambda: "".join(one.logs() for one in processes.values()))
    assert turns.reply(turn)


def _cpu(processes: dict[str, ProcessContainer]) -> float:
    return sum(sum(psutil.Process(one.pid).cpu_times()[:2]) for one in processes.values())
