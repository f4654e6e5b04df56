"""The mirror of a queue-lane turn, and what a node's HELLO does to the queue."""

import asyncio
from datetime import timedelta
from uuid import UUID

import orjson

from app.core import keys, redis
from app.core.db import transaction
from app.core.models import Turn, now
from app.services import estimate, nodes
from app.wire import names
from app.wire.errors import EnvelopeForged
from app.wire.events import PLATFORM
from app.wire.frames import Frame, FrameKind, parse_content
from bots.server import errands
from tests.server_bot.stage import Stage
from tests.support.nodes import PlayedNode
from tests.support.people import Member
from tests.support.waiting import until_async


async def test_a_queue_lane_turn_is_mirrored_sealed(ada: Member, stage: Stage) -> None:
    await stage.node.hello("draining")
    await until_async(lambda: asyncio.to_thread(lambda: not estimate.slots()))
    played = PlayedNode("den", stage.client)
    await played.come_up()
    session = ada.session()
    accepted = await asyncio.to_thread(ada.ask, session, "Warum ist der Himmel blau?")
    await played.answer("Weil ", "Licht gestreut wird.")
    channel = await stage.bot.layout.session(session)
    assert channel is not None
    messages = await until_async(lambda: asyncio.to_thread(stage.messages, channel.id))
    assert len(messages) == 1
    found = parse_content(messages[0].content)
    assert found is not None
    assert found[1] is not None
    frame = Frame.open(found[1], keys.node(PLATFORM), channel.id, from_node=False)
    assert (frame.kind, frame.turn, frame.attempt) == (FrameKind.MIRROR, accepted.turn, 1)
    record = orjson.loads(frame.body)
    assert (record["prompt"], record["reply"]) == ("Warum ist der Himmel blau?", "Weil Licht gestreut wird.")
    for name in ("home", "den"):
        try:
            Frame.open(found[1], keys.node(name), channel.id, from_node=False)
        except EnvelopeForged:
            continue
        raise AssertionError(f"the node {name} can read what is not its own")
    assert not stage.sandbox.world.store.search("Himmel")
    assert not stage.failed


async def test_a_mirror_whose_task_comes_again_is_posted_once(ada: Member, stage: Stage) -> None:
    """Soon, Discord knows its nonce; later, when the broker brings a dead Server-Bot's task, the channel tells."""
    await stage.node.hello("draining")
    await until_async(lambda: asyncio.to_thread(lambda: not estimate.slots()))
    played = PlayedNode("den", stage.client)
    await played.come_up()
    session = ada.session()
    asked = []
    for words in ("short", "long " * 1000):
        asked.append((await asyncio.to_thread(ada.ask, session, words)).turn)
        await played.answer("Yes.")
    channel = await stage.bot.layout.session(session)
    assert channel is not None
    await until_async(lambda: asyncio.to_thread(lambda: len(stage.messages(channel.id)) == 2))
    await errands.post_mirror(stage.bot, asked[0])
    stage.sandbox.world.clock.advance(900)
    hour = timedelta(hours=1)
    with transaction() as tx:
        for turn in asked:
            tx.get_one(Turn, UUID(turn)).finished_at = now() - hour
    for turn in asked:
        await errands.post_mirror(stage.bot, turn)
    assert len(stage.messages(channel.id)) == 2
    # One that is not there, such as behind a day without Discord, is posted however late.
    await channel.delete()
    await errands.post_mirror(stage.bot, asked[1])
    again = await stage.bot.layout.session(session)
    assert again is not None
    assert len(stage.messages(again.id)) == 1
    assert not stage.failed


async def test_a_node_that_reaches_the_broker_is_given_its_turns_there(stage: Stage) -> None:
    key = names.node_key("home")
    shown = next(one for one in await asyncio.to_thread(nodes.listed) if one.name == "home")
    assert (shown.lane, shown.slots, shown.state, shown.model) == ("discord", 2, "ready", "scripted")
    assert 0 < redis.client().ttl(key) <= names.DISCORD_NODE_TTL_SECONDS
    redis.client().hset(key, mapping={"lane": "queue", "state": "ready", "slots": 3})
    sent = await stage.node.post(stage.node.control(), Frame(FrameKind.HELLO, body=b'{"state": "ready", "slots": 2}'))
    await stage.handled(stage.node.control(), sent)
    assert redis.client().hmget(key, "lane", "slots") == [b"queue", b"3"]


async def test_what_is_not_json_is_refused(stage: Stage) -> None:
    await stage.node.post(stage.node.control(), Frame(FrameKind.HELLO, body=b"[1"))
    await stage.refused("malformed")


async def test_a_node_that_lost_the_broker_is_given_its_turns_by_discord(stage: Stage) -> None:
    key = names.node_key("home")
    redis.client().hset(key, mapping={"lane": "queue", "state": "ready", "slots": 3})
    hello = Frame(FrameKind.HELLO, body=b'{"state": "ready", "slots": 2, "broker": false}')
    sent = await stage.node.post(stage.node.control(), hello)
    await stage.handled(stage.node.control(), sent)
    assert redis.client().hmget(key, "lane", "slots") == [b"discord", b"2"]


async def test_a_node_is_known_before_the_bot_has_looked_round(stage: Stage) -> None:
    stage.bot._nodes.clear()
    redis.client().delete(names.node_key("home"))
    sent = await stage.node.post(stage.node.control(), Frame(FrameKind.HELLO, body=b'{"state": "ready", "slots": 2}'))
    await stage.handled(stage.node.control(), sent)
    assert redis.client().hget(names.node_key("home"), "state") == b"ready"
    assert not redis.client().exists(names.REFUSED)


async def test_the_bot_says_that_it_is_connected(stage: Stage) -> None:
    assert redis.client().hget(names.SERVER_BOT, "guild") == str(stage.sandbox.guild).encode()
    assert 0 < redis.client().ttl(names.SERVER_BOT) <= names.SERVER_BOT_TTL_SECONDS


async def test_a_hello_tells_of_the_machine(stage: Stage) -> None:
    body = b'{"state": "ready", "slots": 2, "memory": 100, "resident": 50, "free": 7, "battery": 71, "plugged": 0, "heat": "hot"}'
    sent = await stage.node.post(stage.node.control(), Frame(FrameKind.HELLO, body=body))
    await stage.handled(stage.node.control(), sent)
    shown = next(one for one in await asyncio.to_thread(nodes.listed) if one.name == "home")
    assert (shown.memory, shown.free, shown.battery, shown.plugged, shown.heat) == (150, 7, 71, False, None)
    # A node's word is its own; it must not keep the others from being shown.
    redis.client().hset(names.node_key("home"), mapping={"free": "nan", "battery": "full", "heat": "1e999"})
    shown = next(one for one in await asyncio.to_thread(nodes.listed) if one.name == "home")
    assert (shown.free, shown.battery, shown.heat) == (None, None, None)


async def test_what_a_node_refused_is_counted_and_audited_once(stage: Stage) -> None:
    async def say(**refused: int) -> dict[str, int]:
        body = orjson.dumps({"state": "ready", "slots": 2, "refused": refused})
        sent = await stage.node.post(stage.node.control(), Frame(FrameKind.HELLO, body=body))
        await stage.handled(stage.node.control(), sent)
        return {reason.decode(): int(count) for reason, count in redis.client().hgetall(names.REFUSED).items()}

    assert await say(forged=2, twice=5) == {"node_forged": 2, "node_twice": 5}
    # Said again, nothing is new; a smaller number is that of a node that began anew; what no node counts is not believed.
    assert await say(forged=2, twice=5) == {"node_forged": 2, "node_twice": 5}
    assert await say(forged=1, twice=5, made_up=9) == {"node_forged": 3, "node_twice": 5}
    assert await say(forged=1, twice=5, copied=1) == {"node_forged": 3, "node_twice": 5, "node_copied": 1}
    assert stage.audited() == ["forged", "forged", "copied"]
