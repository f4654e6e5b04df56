"""Redis is soft: behind a fail-over, or after half a minute away, every turn goes on from PostgreSQL."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from websockets.exceptions import ConnectionClosed

from app.core import redis
from app.local import valkey
from app.local.ports import Held
from app.services import queue, sweep, turns
from app.wire import names
from tests.faults.proxy import Wire
from tests.outages.conftest import Wires
from tests.support import nodes
from tests.support.long import LONG
from tests.support.nodes import PlayedNode, Writing
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until, until_async
from tests.support.website import Page, Site

AWAY_SECONDS = 30.0 if LONG else 1.0


@pytest.fixture
def replica(servers: Servers, tmp_path: Path) -> Iterator["Replica"]:
    made = Replica(servers, tmp_path)
    yield made
    made.stop()


class Replica:
    """A second Valkey that follows the first."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        settings = servers.settings
        held = Held()
        self.port = held.pick()
        held.release()
        words = {"port": self.port, "bind": "127.0.0.1", "aclfile": valkey.acl_file(servers.home), "dir": folder, "save": ""}
        words |= {"masteruser": "platform", "masterauth": settings.redis_password}
        command = [str(valkey.binary()), *(word for name, value in words.items() for word in (f"--{name}", str(value)))]
        self._log = folder / "replica.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self.url = settings.redis_url.replace(f":{settings.redis_port}", f":{self.port}")
        self._primary = settings.redis_port
        until(lambda: self._answers(), said=self._log.read_text)
        self._follow("127.0.0.1", self._primary)
        self.catch_up()

    @property
    def client(self) -> Any:
        return Redis.from_url(self.url)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ERRORS:
            return False

    def _follow(self, *words: Any) -> None:
        self.client.execute_command("REPLICAOF", *words)

    def catch_up(self) -> None:
        """Wait until it has what the first one has."""

        def same() -> bool:
            told = self.client.info("replication")
            return bool(told.get("master_link_status") == "up" and told["slave_read_repl_offset"] >= self._offset())

        until(same, said=self._log.read_text)

    def _offset(self) -> int:
        with Redis.from_url(self.url.replace(f":{self.port}", f":{self._primary}")) as client:
            return int(client.info("replication")["master_repl_offset"])

    def promote(self) -> None:
        self._follow("NO", "ONE")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@asynccontextmanager
async def talking(site: Site, who: Member, node: PlayedNode) -> AsyncIterator[tuple[Page, str, Writing]]:
    """A page with a reply that is half written."""
    async with site.page(who, who.session()) as page:
        turn = (await page.ask("Tell me."))["turn"]
        writing = await node.take()
        await writing.begin()
        await writing.say("One ", "two ")
        await page.hear("delta")
        yield page, turn, writing


async def come_back(site: Site, who: Member, turn: str, shown: bytes) -> str:
    """Do as a page does whose line was closed: with what it shows, for the rest; return the whole."""
    while True:
        async with site.page(who, turns.session_of(turn, who.id)) as page:
            await page.resume(turn, shown)
            try:
                done = await page.hear("done")
            except ConnectionClosed:
                shown = bytes(page.shown[turn])
                continue
            assert page.text(turn) == done["text"]
            return page.text(turn)


async def flushed(node: PlayedNode) -> bool:
    try:
        await node.writer.flush()
    except redis.ERRORS:
        return False
    return not any(reply.due for reply in node.writer._replies)


async def swept(*wanted: str) -> None:
    """What beat and the workers do all the time, until these turns are where they shall be."""

    async def moved() -> bool:
        try:
            await asyncio.to_thread(sweep.sweep)
        except redis.ERRORS:
            return False
        waiting = set(await asyncio.to_thread(queue.waiting))
        return set(wanted) <= waiting | {turn.decode() for turn in redis.client().zrange(names.LEASES, 0, -1)}

    await until_async(moved)


@pytest.mark.parametrize("lagging", [False, True], ids=["a replica that has all", "a replica that lacks the last seconds"])
async def test_a_fail_over_to_a_replica(
    site: Site, ada: Member, wires: Wires, played: PlayedNode, replica: Replica, lagging: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sweep.LEASE, "queue", 900)  # However long it takes here, nobody thinks that the node is lost.
    async with talking(site, ada, played) as (page, turn, writing):
        waiting = await asyncio.to_thread(lambda: ada.ask(ada.session()).turn)
        replica.catch_up()
        lost = ""
        if lagging:
            replica.promote()
            await writing.say("three ")
            lost = await asyncio.to_thread(lambda: ada.ask(ada.session()).turn)
        # The first one is gone for good, and everybody comes back to the other.
        wires.redis.become(Wire.CUT)
        replica.promote()
        wires.redis.lead_to(replica.port)
        wires.redis.become(Wire.WHOLE)
        nodes.ready(slots=2)
        await swept(turn, waiting, *filter(None, [lost]))
        writing.reply.add("four.")
        await until_async(lambda: flushed(played))
        assert await writing.end()
        shown = await come_back(site, ada, turn, bytes(page.shown[turn]))
        assert shown == turns.reply(turn) == f"One two {'three ' if lagging else ''}four."
        others = [waiting, lost] if lagging else [waiting]
        for _ in others:
            await played.answer("Yes.")
        assert [turns.reply(one) for one in others] == ["Yes."] * len(others)
        assert redis.client().zcard(names.LEASES) == 0


async def test_away_for_a_while(site: Site, ada: Member, wires: Wires, played: PlayedNode) -> None:
    """Nothing is asked of Redis that PostgreSQL could not tell again; prompts are taken in all the time."""
    async with talking(site, ada, played) as (page, turn, writing):
        wires.redis.become(Wire.CUT)
        meanwhile = await asyncio.to_thread(lambda: ada.ask(ada.session(), "While it is away?").turn)
        writing.reply.add("three.")
        assert not await flushed(played)
        await asyncio.sleep(AWAY_SECONDS)  # The outage itself.
        wires.redis.become(Wire.WHOLE)
        nodes.ready(slots=2)
        # Its lease is long over: that it lives is said before anybody looks for it, or another attempt would go on.
        await until_async(lambda: flushed(played))
        await swept(turn, meanwhile)
        assert await writing.end()
        shown = await come_back(site, ada, turn, bytes(page.shown[turn]))
        assert shown == turns.reply(turn) == "One two three."
    await played.answer("Yes.")
    assert turns.reply(meanwhile) == "Yes."

