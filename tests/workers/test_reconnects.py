"""Lines that break at any moment, over many replies and two web processes behind one address: each byte is shown once."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pytest_celery import CeleryTestSetup

from app.core import redis
from app.local.ports import Held
from app.services import tokens
from app.wire import names
from app.wire.states import Door
from tests.faults.proxy import Proxy
from tests.support.containers import ProcessContainer
from tests.support.long import times
from tests.support.people import Member
from tests.support.reader import Reader
from tests.support.servers import Servers
from tests.support.waiting import until
from tests.workers.conftest import Engine, Nodes

RECONNECTS = times(150, 1000)
READERS = 12
PAUSE_SECONDS = 0.02
"""Between two breaks at most: each reply loses its line a few times."""
AWAY = 3
"""Readers without a line at one time at most: where all come back slowly, they are broken as slowly, and get on."""
PATIENCE_SECONDS = 300.0
SEED = 7


@pytest.fixture
def webs(servers: Servers, tmp_path: Path) -> Iterator[list[int]]:
    """Two web processes; gives their ports."""
    held = Held()
    ports = [held.pick(), held.pick()]
    held.release()
    made = []
    for port in ports:
        environment = {"MEATLIZARD_HOME": str(servers.home.path), "MEATLIZARD_PORT": str(port)}
        made.append(ProcessContainer(f"web-{port}", ["web"], tmp_path, environment, ""))
    try:
        for port, web in zip(ports, made, strict=True):
            until(lambda port=port: _answers(port), said=web.logs)
        yield ports
    finally:
        for web in made:
            web.teardown()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").is_success
    except httpx.HTTPError:
        return False


class Crowd:
    """People who ask until enough lines have been broken."""

    def __init__(self, url: str, token: str, who: Member) -> None:
        self.url, self.token, self.who = url, token, who
        self.asked: list[tuple[str, Reader]] = []
        self.over = asyncio.Event()

    async def person(self, number: int) -> None:
        session = await asyncio.to_thread(self.who.session)
        while not self.over.is_set():
            prompt = f"Person {number}, prompt {len(self.asked)}."
            reader = Reader(self.url, self.token, session)
            self.asked.append((prompt, reader))
            await reader.ask(prompt, seconds=PATIENCE_SECONDS)

    @property
    def reconnects(self) -> int:
        return sum(max(0, reader.connections - 1) for _, reader in self.asked)


async def test_every_byte_once_however_often_the_line_breaks(
    setup: CeleryTestSetup, node_workers: Nodes, webs: list[int], engine: Engine, ada: Member
) -> None:
    node = node_workers.start(slots=READERS)
    await asyncio.to_thread(until, lambda: redis.client().hget(names.node_key("home"), "state") == b"ready", said=node.logs)
    token = tokens.new("ada", "", tokens.DEFAULT, None, "test", Door.CLI, unlimited=True)
    dice = random.Random(SEED)
    address = Proxy("web", webs[0], dice)
    address.targets.append(webs[1])
    crowd = Crowd(f"http://127.0.0.1:{await address.start()}", token, ada)
    async with asyncio.TaskGroup() as group:
        for number in range(READERS):
            group.create_task(crowd.person(number))
        while crowd.reconnects < RECONNECTS:
            await asyncio.sleep(dice.uniform(0, PAUSE_SECONDS))
            address.break_one(READERS - AWAY)
        crowd.over.set()
    made = {one["prompt"]: one["text"] for one in engine.fake.made}
    assert len(made) == len(engine.fake.made) == len(crowd.asked), "each prompt was answered once"
    kept: dict[str, str] = {}
    for session in {reader.session for _, reader in crowd.asked}:
        reader = next(one for _, one in crowd.asked if one.session == session)
        kept |= {one["turn"]: one["text"] for one in (await reader.kept())["messages"] if one["role"] == "assistant"}
    for prompt, reader in crowd.asked:
        assert (reader.ending["event"], reader.endings) == ("done", 1)
        assert reader.shown.decode() == made[prompt] == kept[reader.turn]
    print(f"{crowd.reconnects} reconnects, {len(crowd.asked)} replies, {sum(one.doubled for _, one in crowd.asked)} bytes sent twice")
    await address.stop()
