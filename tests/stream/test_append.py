"""The one call of a node: what it writes and what it answers, whoever holds the fence."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.core import functions
from app.stream.append import Appender, Entry
from app.stream.scripts import APPEND, CLOSE
from app.wire import names
from app.wire.names import node_alive, turn_channel, turn_meta, turn_stream
from app.wire.states import Verdict
from tests.support.servers import Servers
from tests.support.waiting import PATIENCE

TURN = "turn"


def now() -> int:
    """The time of a lease that was just made; Redis runs on this machine, so its clock is ours."""
    return int(time.time() * 1000)


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Any]:
    functions.load()
    client = Redis.from_url(servers.settings.redis_url)
    await lease(client)
    yield client
    await client.aclose()


async def lease(redis: Any, attempt: int = 1, turn: str = TURN, node: str = "home") -> None:
    """Write what the platform writes when it gives an attempt to a node."""
    await redis.hset(turn_meta(turn), mapping={"fence": attempt, "node": node})


@pytest.fixture
def appender(redis: Any) -> Appender:
    return Appender(redis, "home")


def says(*events: bytes, attempt: int = 1, continues: bool = False) -> Entry:
    return Entry(TURN, attempt, events, continues)


async def stream(redis: Any) -> list[bytes]:
    return [fields[b"e"] for _, fields in await redis.xrange(turn_stream(TURN))]


async def close(redis: Any, attempt: int = 1) -> bytes:
    answer: bytes = await redis.fcall(CLOSE, 0, TURN, attempt, 9, b"end")
    return answer


async def test_the_newest_attempt_writes_and_is_heard(redis: Any, appender: Appender) -> None:
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(turn_channel(TURN))
    assert await appender.begin(TURN, 1, now()) is Verdict.GO
    assert await appender.append(says(b"a", b"b")) is Verdict.GO
    assert await stream(redis) == [b"a", b"b"]
    ids = [identity for identity, _ in await redis.xrange(turn_stream(TURN))]
    heard = []
    async with asyncio.timeout(PATIENCE):
        while len(heard) < 2:
            if message := await pubsub.get_message(timeout=1):
                heard.append(message["data"])
    assert heard == [ids[0] + b" a", ids[1] + b" b"]
    await pubsub.aclose()


async def test_a_ghost_of_a_turn_that_ended_long_ago_is_refused(redis: Any, appender: Appender) -> None:
    """The broker hands a task out again when nobody acknowledged it for a quarter of an hour."""
    await redis.flushall()
    leased = now() - names.LEASE_GOOD_SECONDS * 1000 - 1
    assert await appender.begin(TURN, 1, leased) is Verdict.STALE
    assert not await redis.exists(turn_meta(TURN))
    # One that Redis has lost a moment ago is taken up all the same.
    assert await appender.begin(TURN, 1, now()) is Verdict.GO


async def test_a_stale_attempt_writes_nothing(redis: Any, appender: Appender) -> None:
    await appender.begin(TURN, 1, now())
    await lease(redis, 2)
    assert await appender.append(says(b"old")) is Verdict.STALE
    assert await appender.begin(TURN, 1, now()) is Verdict.STALE
    assert await stream(redis) == []
    assert await appender.begin(TURN, 2, now()) is Verdict.GO


async def test_another_node_writes_nothing_under_the_same_number(redis: Any) -> None:
    other = Appender(redis, "away")
    assert await other.begin(TURN, 1, now()) is Verdict.STALE
    assert await other.append(says(b"mine")) is Verdict.STALE
    assert await stream(redis) == []


async def test_an_attempt_begins_once(appender: Appender) -> None:
    assert await appender.begin(TURN, 1, now()) is Verdict.GO
    assert await appender.begin(TURN, 1, now()) is Verdict.REPEAT


async def test_a_stop_is_heard_with_the_text_kept(redis: Any, appender: Appender) -> None:
    await redis.hset(turn_meta(TURN), mapping={"stop": 1})
    assert await appender.begin(TURN, 1, now()) is Verdict.STOP
    assert await appender.append(says(b"last words")) is Verdict.STOP
    assert await stream(redis) == [b"last words"]


async def test_a_closed_turn_takes_nothing_more(redis: Any, appender: Appender) -> None:
    await appender.begin(TURN, 1, now())
    assert await close(redis) == b"go"
    assert await close(redis) == b"closed"
    assert await appender.append(says(b"late")) is Verdict.CLOSED
    assert await appender.begin(TURN, 1, now()) is Verdict.CLOSED
    assert await stream(redis) == [b"end"]


async def test_a_lost_turn_is_laid_anew_when_the_platform_knows_it_again(redis: Any, appender: Appender) -> None:
    await appender.begin(TURN, 1, now())
    await appender.append(says(b"a"))
    await redis.flushall()
    assert await appender.append(says(b"b", continues=True)) is Verdict.UNKNOWN
    assert await appender.append(says(b"a", b"b")) is Verdict.UNKNOWN, "no node makes itself a lease"
    assert await stream(redis) == []
    await lease(redis)
    assert await appender.append(says(b"b", continues=True)) is Verdict.UNKNOWN, "its beginning is not there"
    assert await appender.append(says(b"a", b"b")) is Verdict.GO
    assert await appender.append(says(b"c", continues=True)) is Verdict.GO
    assert await stream(redis) == [b"a", b"b", b"c"]
    assert await appender.begin(TURN, 1, now()) is Verdict.REPEAT


async def test_a_turn_that_only_waits_again_is_not_appended_to(redis: Any, appender: Appender) -> None:
    """After a loss the platform may queue the turn anew before its node speaks: the meta is there, the fence is not."""
    await redis.flushall()
    await redis.hset(turn_meta(TURN), mapping={"user": "u", "next": 1})
    assert await appender.append(says(b"x")) is Verdict.UNKNOWN


async def test_renewing_says_nothing_and_marks_the_life_sign(redis: Any, appender: Appender) -> None:
    await appender.begin(TURN, 1, now())
    await redis.hset(node_alive("home"), TURN, "1 0")
    assert await appender.append(says(continues=False)) is Verdict.GO
    seconds, _ = await redis.time()
    attempt, since = (await redis.hget(node_alive("home"), TURN)).split()
    assert attempt == b"1"
    assert abs(int(since) / 1000 - seconds) < 5
    assert await stream(redis) == []


async def test_a_batch_is_one_round_trip_and_answers_in_order(redis: Any, appender: Appender) -> None:
    for turn, fence in (("one", 1), ("two", 2)):
        await lease(redis, fence, turn)
    batch = [
        Entry("one", 1, [b"x"], continues=False),
        Entry("two", 1, [b"y"], continues=False),
        Entry("three", 1, [b"z"], continues=False),
        Entry("two", 2, [], continues=False),
    ]
    expected = [Verdict.GO, Verdict.STALE, Verdict.UNKNOWN, Verdict.GO]
    assert await appender.append_all(batch) == expected
    assert await appender.append_all(batch) == expected
    assert await redis.xlen(turn_stream("one")) == 2


async def test_what_redis_refuses_for_one_turn_keeps_no_other_from_its_stream(redis: Any, appender: Appender) -> None:
    for turn in ("bad", "good"):
        await lease(redis, 1, turn)
    await redis.set(turn_stream("bad"), "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await appender.append_all([Entry(turn, 1, [b"x"], continues=False) for turn in ("bad", "good")])
    assert await redis.xlen(turn_stream("good")) == 1


@pytest.mark.parametrize("count", ["-4", "-1", "1", "99", "0.5", "nan", "inf", "-inf", "1e300", "x", ""])
async def test_no_count_keeps_the_server_busy_or_leads_out_of_the_batch(redis: Any, count: str) -> None:
    with pytest.raises(ResponseError, match="not a batch"):
        await redis.fcall(APPEND, 0, "*", "home", TURN, 1, 0, count)
    with pytest.raises(ResponseError, match="not a batch"):
        await redis.fcall(APPEND, 0, "*", "home", TURN, 1, 0)
    assert await redis.fcall(APPEND, 0, "*", "home") == []


async def test_a_closed_turn_runs_out_by_itself(redis: Any, appender: Appender) -> None:
    await appender.begin(TURN, 1, now())
    await appender.append(says(b"x"))
    await close(redis)
    for key in (turn_meta(TURN), turn_stream(TURN)):
        assert 0 < await redis.ttl(key) <= 9
    assert 0 < await redis.ttl(node_alive("home")) <= names.STREAM_TTL_SECONDS
