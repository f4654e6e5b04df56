"""Whoever can write to Redis: nothing they say there is believed, shows another's words, or stops what guards the doors."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from redis.exceptions import ResponseError
from sqlalchemy import func, select, text, update

from app.core import presence, redis
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Metric, MetricRollup, Node, now
from app.core.presence import Presence
from app.local import status
from app.services import anew, channels, dispatch, links, logins, metrics, rollup, sessions, sweep
from app.services.nodes import MOST_SLOTS, register
from app.web import socket
from app.wire import names
from app.wire.states import Door
from tests.services.test_metrics import figures
from tests.support import nodes
from tests.support.nodes import PlayedNode
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until_async
from tests.support.website import Site

FIELDS = ("slots", "tokens_per_second", "memory", "resident", "free", "battery", "plugged", "heat", "lane", "model", "state")
JUNK = (b"\xff\xfe", b"nonsense", b"", b"*" * 100_000, b"00000000-0000-7000-8000-000000000000")


async def test_anothers_turn_that_is_told_on_ones_own_channel_is_not_shown(
    site: Site, ada: Member, bob: Member, node: PlayedNode
) -> None:
    """Its prompt and its reply would be in the clear on the page of whoever told it."""
    async with site.page(ada, ada.session()) as hers:
        turn = (await hers.ask("Nobody else's."))["turn"]
        await node.answer("Hers ", "alone.")
        await hers.hear("done")
    his = bob.session()
    channel = names.session_channel(his)
    async with site.page(bob, his) as page, site.page(bob, his) as second:
        for one in (page, second):
            await one.send(type="ping")
            await one.hear("pong")
        await until_async(lambda: asyncio.to_thread(lambda: dict(redis.client().pubsub_numsub(channel))[channel.encode()]))
        for word in (turn.encode(), *JUNK, turn.encode()):
            redis.client().publish(channel, word)
        own = (await second.ask("My own."))["turn"]
        # Heard after all that, by the same listener: it goes on, and has shown nothing of it.
        await page.hear("accepted", turn=own)
        await node.answer("His.")
        await page.hear("done", turn=own)
        assert {event.get("turn") for event in page.heard} <= {own, None}


async def test_junk_does_not_deafen_the_doorkeeper(site: Site, ada: Member) -> None:
    async with site.page(ada, ada.session()) as page:
        await page.send(type="ping")
        await page.hear("pong")
        for word in JUNK:
            redis.client().publish(names.LOGINS, word)
        await asyncio.to_thread(logins.end, ada.login)
        assert await page.closed() == socket.SIGN_IN_AGAIN


def test_junk_among_the_figures_holds_up_nobodys(servers: Servers, ada: Member) -> None:
    far = datetime.now(UTC) + timedelta(days=300)
    for kind, raw in (("turn", b"{"), ("turn", b"[]"), ("other", b"{}"), ("hops", b"7"), (b"\xff", b"{}")):
        redis.client().xadd(names.FIGURES, {kind: raw})
    redis.client().xadd(names.FIGURES, {"turn": orjson.dumps(figures(far))})
    metrics.put("turn", figures(datetime.now(UTC)))
    metrics.drain()
    assert metrics.waiting() == 0
    with transaction() as tx:
        assert tx.scalar(select(func.count()).select_from(Metric)) == 1
        made = tx.scalars(text("select relname from pg_class where relname like 'metrics%'")).all()
    assert not [name for name in made if f"{far:%Y}" in name and f"{far:%m%d}" in name.replace("_", "")], made


@pytest.mark.parametrize("far", [1e308, -1e308, "nan", "inf", 2**62])
def test_figures_that_nobody_measured_do_not_end_the_sums(servers: Servers, ada: Member, far: Any) -> None:
    """Two of the largest there are have no sum: it would fail again each minute, for as long as the rows are kept."""
    at = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    bent = dict.fromkeys(("queue_ms", "first_token_ms", "prompt_ms", "total_ms", "prompt_tokens", "completion_tokens", "tokens_per_second"), far)
    for _ in range(2):
        metrics.put("turn", figures(at, **bent))
    for second in (0, 30):
        metrics.put("sample", {"kind": "node.speed", "subject": "evil", "at": at + timedelta(seconds=second), "value": far})
    metrics.put("turn", figures(at))
    metrics.drain()
    while rollup.roll_up() > 1:
        pass
    with transaction() as tx:
        assert tx.scalar(select(func.sum(MetricRollup.completion_tokens)).where(MetricRollup.span == "h")) == 50
        assert tx.scalar(select(func.sum(MetricRollup.speed_total)).where(MetricRollup.span == "h")) == 48


def test_a_node_that_was_removed_is_sent_nothing_however_alive_it_seems(servers: Servers, ada: Member) -> None:
    nodes.ready("stolen")
    with transaction() as tx:
        tx.execute(update(Node).where(Node.name == "stolen").values(removed_at=now()))
    redis.client().sadd(names.NODES, "stolen")
    ada.ask(ada.session())
    dispatch.dispatch()
    assert nodes.jobs("stolen") == []
    nodes.ready("home")
    ada.ask(ada.session())
    dispatch.dispatch()
    assert len(nodes.jobs("home")) >= 1


def test_a_task_does_not_open_or_remove_a_channel_that_is_not_to_be(
    servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEATLIZARD_DISCORD_OWNER_SEES", "true")
    settings.cache_clear()
    assert not links.sees(ada.id, 4711)
    links.attach(ada.id, 4711, "ada", Door.WEB)
    assert links.sees(ada.id, 4711)
    assert not links.sees(ada.id, 4712)
    session = ada.session()
    place = channels.of_session(session)
    assert place is not None
    assert channels.closed(session) is None, "it is open"
    sessions.remove(session, ada.id)
    assert channels.closed(session) is not None


async def test_a_node_that_says_nonsense_of_itself_breaks_nothing(site: Site, ada: Member, node: PlayedNode) -> None:
    """It may be a stolen one: it may write to its own key, and to nothing else."""
    nonsense = (b"\xff", b"x", b"-1", b"1e999", b"999999999", b"nan", b"", b"m" * 100_000)
    async with site.browser(ada) as browser:
        for word in nonsense:
            said = dict.fromkeys(("slots", "tokens_per_second", "model", "lane", "memory", "heat", "battery", "error", b"\xff"), word)
            redis.client().hset(names.node_key("evil"), mapping={**said, "state": "ready"})
            await asyncio.to_thread(register, "evil", 1)
            ada.ask(ada.session())
            shown = {one["name"]: one for one in (await browser.get("/api/state")).raise_for_status().json()["nodes"]}
            assert 0 <= shown["evil"]["slots"] <= MOST_SLOTS
            assert len(shown["evil"]["model"] or "") <= 300
            for path in ("/v1/models", "/nodes", "/metrics"):
                answer = await browser.get(path, headers={"Authorization": f"Bearer {ada.token}"})
                assert answer.status_code == 200, (path, word)
            assert dispatch.announce_places() is None


@pytest.mark.parametrize("key", [names.LEASES, names.RING, names.WAITING, names.NODES, names.node_key("home"), "ml:queue:shares"])
@pytest.mark.parametrize("kind", ["junk", "another type"])
def test_what_cannot_be_in_the_queue_stops_nobody_for_good(
    servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch, key: str, kind: str
) -> None:
    """As after a FLUSHALL all of it is laid anew from the rows; what is done to it once is over at the next sweep."""
    monkeypatch.setattr(anew._Last, "at", -2 * anew.PAUSE_SECONDS)
    nodes.ready("home", 1)
    turns = [ada.ask(ada.session()).turn for _ in range(2)]
    [job] = nodes.jobs()
    client = redis.client()
    if kind == "another type":
        client.delete(key)
        client.set(key, b"x")
    else:
        known = client.type(key)
        if known == b"hash":
            client.hset(key, mapping=dict.fromkeys([*client.hkeys(key), b"\xff"], b"\xff"))
        elif known == b"set":
            client.sadd(key, b"\xff", "nobody")
        else:
            client.zadd(key, {b"\xff": 1, "nobody": 2})
    sweep.sweep()
    nodes.ready("home", 2)
    sweep.sweep()
    [other] = nodes.jobs()
    assert {job.turn, other.turn} == set(turns)
    assert nodes.finish(job)
    assert nodes.finish(other)


@pytest.mark.parametrize(
    ("said", "is_damage"),
    [
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value script: on @user_function:7."), True),
        (ResponseError("user_function:32: attempt to perform arithmetic on a nil value script: on @user_function:32."), True),
        (ResponseError("OOM command not allowed when used memory > 'maxmemory'. script: ml_enqueue, on @user_function:32."), False),
        (ResponseError("BUSY Redis is busy running a script."), False),
        (ConnectionError("gone"), False),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), True),
    ],
)
def test_a_redis_that_has_no_room_or_no_time_keeps_its_queue(said: Exception, is_damage: bool) -> None:
    assert anew.damage(said) is is_damage


def test_status_shows_a_node_that_says_nonsense_of_itself(servers: Servers) -> None:
    register("evil", 1)
    for word in (b"\xff", b"x", b"-1", b"1e999", b"nan", b""):
        redis.client().hset(names.node_key("evil"), mapping=dict.fromkeys([*FIELDS, b"\xff"], word))
        redis.client().sadd(names.NODES, "evil")
        [shown] = status._nodes(servers.settings)
        assert (shown["name"], shown["slots"], shown["memory"], shown["tokens_per_second"]) == ("evil", 0, None, None)


async def test_junk_in_the_name_of_a_process_breaks_no_page(site: Site, ada: Member) -> None:
    Presence("worker").say()
    sound = orjson.loads(redis.client().get(processes_key()[0]))
    bent = [sound | {name: word} for name in sound for word in (None, "x", [], {}, [[1, 2, 3, 4]]) if type(word) is not type(sound[name])]
    for number, raw in enumerate([*JUNK, *map(orjson.dumps, bent), b"[]", b"7", b"{}"]):
        redis.client().set(f"{names.PROCESS}junk-{number}", raw)
    assert [one["process"] for one in presence.processes()] == ["worker"]
    async with site.browser() as browser:
        answer = (await browser.get("/metrics")).raise_for_status()
    assert 'process="worker"' in answer.text


def processes_key() -> list[bytes]:
    return list(redis.client().scan_iter(f"{names.PROCESS}*"))
