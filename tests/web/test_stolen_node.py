"""A node that was stolen: it answers what it is asked as it likes, and that is all that it can do to anybody."""

from dataclasses import replace
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import select

from app.core import redis
from app.core.db import transaction
from app.core.models import Sample
from app.services import dispatch, joining, limits, room, samples, spending
from app.services.nodes import register
from app.services.person import Person
from app.wire import names
from app.wire.acl import own_keys
from app.wire.events import Event
from app.wire.figures import LARGEST_FIGURE
from app.wire.states import Door, EventKind
from tests.support import nodes
from tests.support.nodes import PlayedNode, Writing
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.website import Site

MARKUP = '<form action="https://elsewhere.example"><input name="password"></form>'


async def told(writing: Writing, event: Event) -> None:
    """Let a node say something in its own name, under the key of its own attempt."""
    entry = writing.reply.entry()
    await writing.node.appender.append(replace(entry, events=[writing.reply._sealer.seal(event)]))


@pytest.mark.parametrize(
    "words",
    [
        {"event": "block", "from": 0, "to": 9, "html": MARKUP},
        {"event": "done", "message": "1", "html": MARKUP, "text": "x"},
        {"event": "accepted", "html": MARKUP, "id": "1", "message": "1"},
        {"event": "error", "message": MARKUP},
        {"turn": "another"},
        {"attempt": 99},
    ],
)
async def test_its_events_are_what_a_node_may_say(site: Site, ada: Member, node: PlayedNode, words: dict[str, Any]) -> None:
    """Whatever it seals into them: a page believes the platform's word for what is finished, clean and whose."""
    async with site.page(ada, ada.session()) as page:
        turn = (await page.ask("Tell me."))["turn"]
        writing = await node.take()
        data = {"node": node.name, "left_out": 0, **words}
        await told(writing, Event(EventKind.STARTED, turn, 1, at=0, data=data))
        await told(writing, Event(EventKind.DELTA, turn, 1, at=0, text="Hi.", data=words))
        await page.hear("delta", turn=turn)
        for event in page.heard:
            assert MARKUP not in str(event)
            assert event["event"] in ("accepted", "queued", "started", "delta")
            assert event.get("turn") == turn
            assert event.get("attempt", 1) in (0, 1)


def test_what_it_says_a_turn_took_keeps_nobody_out(servers: Servers, ada: Member) -> None:
    """Of two counts that PostgreSQL can keep the sum is one too."""
    limits.set_limit("user:ada", "tokens", limits.LARGEST, "test", Door.CLI)
    limits.admit(Person(ada.id, "ada", "member"))  # As her prompt is at each door: what she used today is known from then on.
    nodes.ready()
    ada.ask(ada.session())
    dispatch.dispatch()
    [job] = nodes.jobs()
    assert nodes.finish(job, prompt_tokens=2**31 - 1, completion_tokens=2**31 - 1)
    spending.recount(ada.id)
    who = Person(ada.id, "ada", "member")
    limits.admit(who)
    assert {one.kind for one in limits.left(ada.id)} >= {"tokens"}


@pytest.mark.parametrize("said", [b"1e308", b"nan", b"inf", b"-1e308", b"\xff"])
def test_what_it_says_of_itself_stops_nobodys_figures(servers: Servers, said: bytes) -> None:
    nodes.ready("home", tokens_per_second=40)
    bent: dict[str, Any] = dict.fromkeys(("memory", "heat", "tokens_per_second", "discord_wait"), said)
    nodes.ready("evil", **bent)
    redis.client().hset(names.node_key("evil"), b"\xff", b"\xff")
    samples.take()
    with transaction() as tx:
        kept = {(one.kind, one.subject): one.value for one in tx.scalars(select(Sample))}
    assert kept["node.speed", "home"] == 40
    assert all(0 <= value < LARGEST_FIGURE for value in kept.values())


def test_what_it_heaps_up_is_thrown_away(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis refuses everybody's writes when it is full, and a task that tidies up would not reach its worker either."""
    nodes.ready()
    url = servers.add_node("evil")
    register("evil", 1)
    kept = ada.ask(ada.session()).turn
    dispatch.dispatch()
    redis.client().xadd(names.turn_stream(kept), {"e": b"x"})
    assert room.keep() == []
    monkeypatch.setattr(room, "FULL", 0.0)
    for bound in ("OF_A_NODE", "OF_THE_INBOX", "OF_A_STREAM"):
        monkeypatch.setattr(room, bound, 1 << 20)
    assert room.keep() == []
    with Redis.from_url(url) as client:
        client.hset(names.node_key("evil"), "error", b"*" * (2 << 20))
        client.lpush(names.NODES_INBOX, *[b"*" * 100_000] * 30)
        client.xadd(names.turn_stream("large"), {"e": b"*" * (2 << 20)})
        client.xadd(names.turn_stream("\udcff".encode("utf-8", "surrogateescape").decode("latin-1")), {"e": b"x"})
    assert len(room.keep()) == 4
    assert room.keep() == []
    assert redis.client().exists(names.turn_stream(kept))
    joining.remove("evil", "test", Door.CLI)
    assert not redis.client().exists(*own_keys("evil"))
