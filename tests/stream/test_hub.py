"""One Pub/Sub connection for many listeners: acknowledged, never silently late, and back after it was cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from app.stream import hub as hub_module
from app.stream.hub import LOST, OWN_CHANNEL, QUEUE_LENGTH, Hub, Listener
from tests.support.servers import Servers
from tests.support.waiting import PATIENCE, until_async


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Any]:
    client = Redis.from_url(servers.settings.redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def hub(servers: Servers) -> AsyncIterator[Hub]:
    client = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
    async with Hub(client).running() as hub:
        yield hub
    await client.aclose()


async def get(listener: Listener) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await listener.get()


async def subscribers(redis: Any, channel: str) -> int:
    return int(dict(await redis.pubsub_numsub(channel))[channel.encode()])


async def test_nothing_published_after_listening_is_missed(hub: Hub, redis: Any) -> None:
    for number in range(50):
        async with hub.listen("channel") as listener:
            assert await redis.publish("channel", f"{number}") == 1
            assert await get(listener) == f"{number}".encode()


async def test_a_channel_is_left_when_its_last_listener_goes(hub: Hub, redis: Any) -> None:
    async with hub.listen("channel"):
        async with hub.listen("channel"):
            assert await subscribers(redis, "channel") == 1
        assert await subscribers(redis, "channel") == 1

    async def left() -> bool:
        return await subscribers(redis, "channel") == 0

    await until_async(left)


async def test_a_channel_is_left_too_where_there_was_no_connection_to_say_so(
    servers: Servers, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "HEALTH_SECONDS", 0.05)
    client = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
    async with Hub(client).running() as hub:
        async with hub.listen("channel"):
            pubsub, hub._pubsub = hub._pubsub, None
        hub._pubsub = pubsub

        async def left() -> bool:
            return await subscribers(redis, "channel") == 0

        await until_async(left)
    await client.aclose()


async def test_listeners_come_and_go_at_once_and_miss_nothing(hub: Hub, redis: Any) -> None:
    """One channel is subscribed to and left over and over by many; whoever is inside hears what is said there."""

    async def come_and_go(identity: int) -> None:
        for number in range(15):
            async with hub.listen("shared") as listener:
                said = f"{identity} {number}".encode()
                await redis.publish("shared", said)
                while (heard := await get(listener)) != said:
                    assert heard != LOST
            await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for identity in range(8):
            group.create_task(come_and_go(identity))


async def test_leaving_before_the_acknowledgement_harms_nobody(hub: Hub, redis: Any) -> None:
    for number in range(30):
        going = asyncio.create_task(_stay(hub, "shy"))
        await asyncio.sleep(0)
        going.cancel()
        async with hub.listen("shy") as listener:
            await redis.publish("shy", f"{number}")
            assert await get(listener) == f"{number}".encode()
        with contextlib.suppress(asyncio.CancelledError):
            await going


async def _stay(hub: Hub, channel: str) -> None:
    async with hub.listen(channel):
        await asyncio.Event().wait()


async def test_a_slow_listener_is_told_once_and_the_others_hear_all(hub: Hub, redis: Any) -> None:
    async with hub.listen("channel") as slow, hub.listen("channel") as quick:
        total = QUEUE_LENGTH + 20
        heard = []
        for number in range(total):
            await redis.publish("channel", f"{number}")
            heard.append(await get(quick))
        assert heard == [f"{number}".encode() for number in range(total)]
        assert await get(slow) == LOST
        await redis.publish("channel", "after")
        assert await get(slow) == b"after"


async def test_what_comes_at_once_is_handed_out_whole_and_in_order(
    hub: Hub, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is asked once for a burst, whose messages it would else hand out one by one."""
    asked = 0
    asking = PubSub.get_message

    async def counted(pubsub: Any, *words: Any, **more: Any) -> Any:
        nonlocal asked
        asked += 1
        return await asking(pubsub, *words, **more)

    monkeypatch.setattr(PubSub, "get_message", counted)
    async with hub.listen("one") as one, hub.listen("two") as two:
        async with redis.pipeline(transaction=True) as pipe:
            for number in range(100):
                pipe.publish("one", f"{number}").publish("two", f"{number}")
            await pipe.execute()
        for number in range(100):
            assert await get(one) == await get(two) == f"{number}".encode()
        async with hub.listen("three") as three:
            await redis.publish("three", "goes on")
            assert await get(three) == b"goes on"
    assert asked < 50


async def test_a_cut_connection_is_told_and_mended(hub: Hub, redis: Any) -> None:
    async with hub.listen("one") as one, hub.listen("two") as two:
        for _ in range(3):
            assert await redis.client_kill_filter(_type="pubsub") == 1
            assert await get(one) == LOST
            assert await get(two) == LOST

            async def back() -> bool:
                return await subscribers(redis, "one") == await subscribers(redis, "two") == 1

            await until_async(back)
            for listener, channel in ((one, "one"), (two, "two")):
                assert await get(listener) == LOST
                await redis.publish(channel, "again")
                assert await get(listener) == b"again"
        assert await subscribers(redis, OWN_CHANNEL) == 1


async def test_what_is_said_while_the_connection_is_away_is_told_as_lost_when_it_is_back(hub: Hub, redis: Any) -> None:
    async with hub.listen("channel") as listener:
        await redis.client_kill_filter(_type="pubsub")
        assert await get(listener) == LOST
        # Whoever reads the stream now may miss what comes before the subscription stands again.
        assert await get(listener) == LOST
        assert await subscribers(redis, "channel") == 1


async def test_a_connection_that_the_library_mends_by_itself_is_told_too(hub: Hub, redis: Any) -> None:
    async with hub.listen("channel") as listener:
        hub._handle({"type": "subscribe", "channel": b"channel"})
        assert await get(listener) == LOST


async def test_whoever_comes_while_the_connection_is_away_is_served_when_it_is_back(hub: Hub, redis: Any) -> None:
    async with hub.listen("first") as first:
        await redis.client_kill_filter(_type="pubsub")
        assert await get(first) == LOST
        async with asyncio.timeout(PATIENCE), hub.listen("late") as late:
            await redis.publish("late", "x")
            while (heard := await get(late)) == LOST:
                continue
            assert heard == b"x"


async def test_a_silent_connection_is_asked_whether_it_lives(
    servers: Servers, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stands still without a word is noticed: after the silence a ping, after the next one LOST."""
    monkeypatch.setattr(hub_module, "HEALTH_SECONDS", 0.2)
    client = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
    async with Hub(client).running() as hub, hub.listen("channel") as listener:
        await redis.execute_command("CLIENT", "PAUSE", "1500", "ALL")
        assert await get(listener) == LOST
        async with hub.listen("another") as another:
            await redis.publish("another", "alive")
            while (heard := await get(another)) == LOST:
                continue
            assert heard == b"alive"
    await client.aclose()


async def test_nobody_waits_for_ever_for_a_server_that_is_away(servers: Servers) -> None:
    client = Redis.from_url("redis://127.0.0.1:1/0")
    async with Hub(client).running() as hub:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), hub.listen("channel"):
                raise AssertionError("listening to nothing")
    await client.aclose()


async def test_a_connection_that_was_given_up_is_not_left_behind(servers: Servers, redis: Any) -> None:
    client = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
    hub = Hub(client)
    old: Any = client.pubsub()
    sending = old.subscribe

    async def late(channel: str) -> None:
        # The line is given up while this waits; the client library then makes a new one by itself.
        await old.aclose()
        hub._pubsub = None
        await sending(channel)
        assert await subscribers(redis, channel) == 1

    old.subscribe = late
    hub._pubsub = old
    await hub._send("subscribe", "late")

    async def gone() -> bool:
        return await subscribers(redis, "late") == 0

    await until_async(gone)
    await client.aclose()
