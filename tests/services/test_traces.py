"""A turn's way: stamped by every hop, on one clock though no two machines agree, drawn without a word of its text."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from app.core.db import single, transaction
from app.core.prepared import Statement
from app.services import metrics, traces, trail, waterfall
from app.stream.clock import RedisClock
from app.verbs import app
from app.wire import hops
from app.wire.errors import NotFound
from app.wire.states import Door
from tests.support import nodes
from tests.support.nodes import PlayedNode
from tests.support.people import Member
from tests.support.waiting import until, until_async
from tests.support.website import Site

HOUR = 3_600_000.0
NODE = (hops.ARRIVED, hops.READING, hops.FIRST, hops.LAST)


def node_hops(job: Any, milliseconds: float = 5) -> dict[str, float]:
    """What a node adds whose parts took so long each."""
    began = job.hops[hops.DISPATCHED]
    return {**job.hops} | {hop: began + milliseconds * count for count, hop in enumerate(NODE, 1)}


async def test_every_hop_stamps_the_turn_though_the_page_is_an_hour_off(site: Site, ada: Member, node: PlayedNode) -> None:
    session = ada.session()
    async with site.page(ada, session) as page:
        sent = time.time() * 1000
        turn = (await page.ask("SECRET-PROMPT"))["turn"]
        accepted = time.time() * 1000
        writing = await node.take()
        await writing.begin()
        await writing.say("SECRET-REPLY")
        await page.hear("delta")
        painted = time.time() * 1000
        assert await writing.end(hops=node_hops(writing.job))
        await page.hear("done")
        own = {"sent": sent, "accepted": accepted, "painted": painted, "shown": time.time() * 1000}
        await page.send(type="shown", turn=turn, **{name: at + HOUR for name, at in own.items()})
        await page.send(type="ping")
        await page.hear("pong")

    async def whole() -> Any:
        found = await asyncio.to_thread(traces.of, turn, ada.id)
        return found if set(found.hops) == set(hops.WHO) else None

    found = await until_async(whole)  # What the web process stamps it writes down while it goes on.
    order = [hops.SENT, hops.RECEIVED, hops.KEPT, hops.LEASED, hops.DISPATCHED, *NODE, hops.ENDED]
    stamps = [found.hops[hop] for hop in order if hop not in (hops.LEASED,)]  # Redis gives whole milliseconds.
    assert stamps == sorted(stamps), found.hops
    assert found.hops[hops.SHOWN] >= found.hops[hops.TOLD] - 1000
    assert 0 < found.total < 60_000, "the page's clock was not put straight"
    assert {bar.name for bar in found.bars} == {step.name for step in hops.STEPS}
    assert "SECRET" not in json.dumps(found.dump())
    with pytest.raises(NotFound):
        await asyncio.to_thread(traces.of, turn, "00000000-0000-0000-0000-000000000007")


def test_a_turn_that_was_given_up_shows_what_postgresql_knows(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    found = traces.of(turn)
    assert [bar.name for bar in found.bars] == ["Waits for a slot"]
    with pytest.raises(NotFound):
        traces.of("nonsense")
    for who in (ada.id, ""):
        traces.looked_at(turn, who, "olga", Door.WEB)
    [told] = [row for row in trail.listed() if row.action == "turn.trace"]
    assert (told.actor, told.subject) == ("olga", turn), "one's own way is nobody's business"


def test_the_command_prints_a_waterfall_and_writes_it_as_a_picture(ada: Member, tmp_path: Any) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    nodes.finish(job, hops=node_hops(job, 40))
    picture = tmp_path / "trace.svg"
    said = CliRunner().invoke(app, ["trace", turn, "--svg", str(picture)])
    assert said.exit_code == 0, said.output
    assert "Reads the prompt" in said.output
    assert "40 ms" in said.output
    assert "█" in said.output
    drawn = ET.fromstring(picture.read_text())
    names = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "Writes the reply" in names
    told = json.loads(CliRunner().invoke(app, ["trace", turn, "--json"]).output)
    assert (told["turn"], told["state"], told["lane"]) == (turn, "done", "queue")
    assert next(bar for bar in told["bars"] if bar["name"] == "Reads the prompt")["took_ms"] == pytest.approx(40, abs=0.2)


def test_what_a_node_makes_up_is_not_kept(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    made_up = {"sent": 1.7e12, "first": "now", "last": float("nan"), "reading": 5, "words": 1.7e12, "arrived": 1.7e12}
    nodes.finish(job, hops=made_up)
    kept = traces.of(turn).hops
    assert {"sent", "first", "last", "reading", "words"}.isdisjoint(kept)
    assert "arrived" in kept


def test_stamps_that_come_later_do_not_move_those_that_stand(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    for at in (1.7e12, 1.8e12):
        metrics.put("hops", {"turn": turn, "hops": {hops.SENT: at}})
        metrics.drain()
    assert traces.of(turn).began.startswith("2023-11-14")


def test_stamps_lock_their_turns_in_the_order_in_which_ends_do(ada: Member) -> None:
    session = ada.session()
    first, second = sorted(ada.ask(session).turn for _ in range(2))
    for turn in (second, first):
        metrics.put("hops", {"turn": turn, "hops": {hops.SENT: 1.7e12}})
    lock = "select 1 from turns where id = cast(:turn as uuid) for update nowait"
    waits = Statement("select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%turns%hops%'")
    with ThreadPoolExecutor(1) as pool:
        with transaction() as tx:
            tx.execute(text(lock), {"turn": first})
            draining = pool.submit(metrics.drain)
            until(lambda: single(waits, {}))
            single(Statement(lock), {"turn": second})  # It would not wait for this one.
        assert draining.result() == 2


def test_the_clock_goes_by_the_answer_that_came_back_fastest() -> None:
    clock = RedisClock()
    assert clock.ahead == 0
    clock.note(100.0, 100.2, (700, 150_000))  # Asked and answered within 200 ms: off by up to 100 ms.
    clock.note(200.0, 200.01, (800, 5_000))
    clock.note(300.0, 302.0, (905, 0))
    assert clock.ahead == pytest.approx(600.0, abs=0.005)
    assert clock.now() == pytest.approx(time.time() + 600, abs=1)


def test_durations_are_told_in_the_unit_that_suits_them() -> None:
    assert [waterfall.duration(ms) for ms in (0.25, 12.3, 999, 1500)] == ["0.2 ms", "12 ms", "999 ms", "1.50 s"]
