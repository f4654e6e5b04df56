"""Following a turn: what is missing first, then live, over gaps, cut connections and a Redis that forgot all."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from cryptography.fernet import Fernet
from redis.asyncio import Redis

from app.core import functions
from app.stream import follow
from app.stream.append import Appender
from app.stream.cursor import Cursor
from app.stream.follow import Follower
from app.stream.hub import Hub
from app.stream.scripts import CLOSE
from app.wire.envelope import Ring
from app.wire.events import PLATFORM, Event, Sealer
from app.wire.names import turn_channel, turn_meta, turn_stream
from app.wire.states import EventKind, Verdict
from tests.support.servers import Servers
from tests.support.waiting import until_async
from workers.inference.writer import Reply, Writer

RING = Ring.parse(Fernet.generate_key().decode())
TURN = "turn"
QUIET = 30.0


class Stage:
    """A writer, a reader, and the Redis between them."""

    def __init__(self, redis: Any, hub: Hub) -> None:
        self.redis, self.hub = redis, hub
        self.lost: list[tuple[str, int]] = []
        self.writer = Writer(Appender(redis, "home"), lambda *what: self.lost.append(what))
        self.appender = Appender(redis, "home")
        self.reply = self.attempt(1)
        self.ring, self.asked = RING, 0

    def ring_of(self, *_: Any) -> Ring:
        self.asked += 1
        return self.ring

    def attempt(self, number: int, prefix: str = "") -> Reply:
        self.reply = Reply(TURN, number, Sealer(RING, TURN, number, "home"), prefix)
        self.writer.open(self.reply)
        return self.reply

    async def lease(self) -> None:
        await self.redis.hset(turn_meta(TURN), mapping={"fence": self.reply.attempt, "node": "home"})

    async def begin(self) -> None:
        await self.lease()
        assert await self.appender.begin(TURN, self.reply.attempt, int(time.time() * 1000)) is Verdict.GO
        self.reply.start(0)
        await self.writer.flush()

    async def say(self, *texts: str) -> None:
        for text in texts:
            self.reply.add(text)
            await self.writer.flush()

    async def flushed(self) -> bool:
        await self.writer.flush()
        return not self.reply._pending

    async def end(self) -> None:
        length = len(self.reply.text.encode())
        event = Event(EventKind.DONE, TURN, self.reply.attempt, length)
        sealed = Sealer(RING, TURN, self.reply.attempt, PLATFORM).seal(event)
        await self.redis.fcall(CLOSE, 0, TURN, self.reply.attempt, 60, sealed)

    @asynccontextmanager
    async def reading(self, cursor: Cursor | None = None, quiet: float = QUIET) -> AsyncIterator["Reading"]:
        follower = Follower(self.redis, self.hub, self.ring_of)
        async with aclosing(follower.follow(TURN, cursor or Cursor(), quiet)) as events:
            reading = Reading(events)
            task = asyncio.create_task(reading.run())
            try:
                yield reading
            finally:
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled() and task.exception():
                    raise task.exception()  # type: ignore[misc]


class Reading:
    def __init__(self, events: AsyncIterator[Event | None]) -> None:
        self.events = events
        self.text = bytearray()
        self.kinds: list[str | None] = []

    async def run(self) -> None:
        async for event in self.events:
            self.kinds.append(event.kind.value if event else None)
            if event and event.kind is EventKind.STARTED:
                del self.text[event.at or 0 :]
            elif event and event.kind is EventKind.DELTA:
                assert event.at == len(self.text)
                self.text += (event.text or "").encode()

    async def shows(self, text: str) -> None:
        async def it_does() -> bool:
            return self.text.decode() == text

        await until_async(it_does)

    async def has(self, kind: str | None, times: int = 1) -> None:
        async def it_has() -> bool:
            return self.kinds.count(kind) >= times

        await until_async(it_has)


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[Stage]:
    functions.load()
    redis = Redis.from_url(servers.settings.redis_url)
    subscriber = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
    async with Hub(subscriber).running() as hub:
        yield Stage(redis, hub)
    await subscriber.aclose()
    await redis.aclose()


async def test_what_was_said_before_and_after_comes_once(stage: Stage) -> None:
    await stage.begin()
    await stage.say("be", "fore ")
    async with stage.reading() as reading:
        await reading.shows("before ")
        await stage.say("after", " é")
        await reading.shows("before after é")
        await stage.end()
        await reading.has("done")
        assert reading.kinds.count("started") == 1


async def test_more_than_a_page_of_history(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "PAGE", 7)
    await stage.begin()
    await stage.say(*(f"{number} " for number in range(50)))
    await stage.end()
    async with stage.reading() as reading:
        await reading.has("done")
        assert reading.text.decode() == "".join(f"{number} " for number in range(50))


async def test_a_reader_takes_up_where_it_stood(stage: Stage) -> None:
    await stage.begin()
    await stage.say("one ", "two ")
    cursor = Cursor()
    async with stage.reading(cursor) as reading:
        await reading.shows("one two ")
    await stage.say("three ")
    async with stage.reading(cursor) as later:
        later.text += b"one two "
        await later.shows("one two three ")
        assert "started" not in later.kinds


async def test_a_cut_connection_loses_nothing(stage: Stage) -> None:
    await stage.begin()
    async with stage.reading() as reading:
        await stage.say("a")
        await reading.shows("a")
        text = "a"
        for number in range(4):
            await stage.redis.client_kill_filter(_type="pubsub")
            await stage.say(f"{number}", "x", "y")
            text += f"{number}xy"
            await reading.shows(text)
        await stage.end()
        await reading.has("done")


async def test_a_message_that_did_not_come_is_read_from_the_stream(stage: Stage) -> None:
    await stage.begin()
    async with stage.reading() as reading:
        await stage.say("a")
        await reading.shows("a")
        lost = Sealer(RING, TURN, 1, "home").seal(Event(EventKind.DELTA, TURN, 1, 1, "b"))
        await stage.redis.xadd(turn_stream(TURN), {"e": lost})
        stage.reply.add("b")
        stage.reply.entry()
        stage.reply.gone_out()
        await stage.say("c")
        await reading.shows("abc")


async def test_silence_is_said_and_ends_with_the_next_word(stage: Stage) -> None:
    await stage.begin()
    async with stage.reading(quiet=0.05) as reading:
        await reading.has(None, times=3)
        await stage.say("word")
        await reading.shows("word")


async def test_what_was_missed_in_silence_is_found_without_another_word(stage: Stage) -> None:
    await stage.begin()
    async with stage.reading(quiet=0.1) as reading:
        await reading.has("started")
        lost = Sealer(RING, TURN, 1, "home").seal(Event(EventKind.DELTA, TURN, 1, 0, "unpublished"))
        await stage.redis.xadd(turn_stream(TURN), {"e": lost})
        await reading.shows("unpublished")


async def test_a_redis_that_forgot_all_is_seeded_and_nothing_shows_twice(stage: Stage) -> None:
    await stage.begin()
    async with stage.reading() as reading:
        await stage.say("one ", "two ")
        await reading.shows("one two ")
        await stage.redis.flushall()
        await stage.say("three ")
        assert stage.lost == [(TURN, 1)], "the platform is asked for it"
        await stage.lease()
        await until_async(stage.flushed)
        await reading.shows("one two three ")
        await stage.say("four")
        await stage.end()
        await reading.has("done")
        assert reading.text.decode() == "one two three four"


async def test_another_attempt_goes_on_in_the_text(stage: Stage) -> None:
    await stage.begin()
    async with stage.reading() as reading:
        await stage.say("one ", "two ")
        await reading.shows("one two ")
        old = stage.reply
        stage.attempt(2, "one ")
        await stage.begin()
        old.add("never shown")
        await stage.say("three")
        assert old.verdict is Verdict.STALE
        await reading.shows("one three")
        await stage.end()
        await reading.has("done")


async def test_what_does_not_open_is_passed_over(stage: Stage) -> None:
    await stage.begin()
    async with stage.reading() as reading:
        await stage.say("a")
        await stage.redis.xadd(turn_stream(TURN), {"e": b"garbage"})
        await stage.redis.publish(turn_channel(TURN), b"- garbage")
        await stage.say("b")
        await reading.shows("ab")


async def test_keys_are_asked_for_once_and_again_where_they_have_changed(stage: Stage) -> None:
    """On the discord lane the platform seals what a node said, with its newest key: after a rotation that is another."""
    await stage.begin()
    async with stage.reading() as reading:
        await stage.say("one ", "two ", "three ")
        await reading.shows("one two three ")
        assert stage.asked == 1
        newest = Ring.parse(Fernet.generate_key().decode())
        stage.ring = Ring(newest.keys + RING.keys)
        event = Event(EventKind.DELTA, TURN, 1, len("one two three "), "four")
        await stage.redis.publish(turn_channel(TURN), b"- " + Sealer(newest, TURN, 1, "home").seal(event))
        await reading.shows("one two three four")
        assert stage.asked == 2


async def test_an_event_of_another_turn_is_not_heard_here(stage: Stage) -> None:
    await stage.begin()
    async with stage.reading() as reading:
        other = Sealer(RING, "other", 1, "home").seal(Event(EventKind.DELTA, "other", 1, 0, "other"))
        await stage.redis.xadd(turn_stream(TURN), {"e": other})
        await stage.redis.publish(turn_channel(TURN), b"- " + other)
        await stage.say("own")
        await reading.shows("own")


@pytest.mark.parametrize("message", [b"garbage", b" ", b"x-y z", b"1-2-3 x", b"\xff-0 x"])
async def test_a_message_of_another_shape_ends_no_reader(stage: Stage, message: bytes) -> None:
    await stage.begin()
    async with stage.reading(quiet=0.3) as reading:
        await stage.say("a")
        await reading.shows("a")
        await stage.redis.publish(turn_channel(TURN), message)
        await stage.say("b")
        await reading.shows("ab")


FAR = b"18446744073709551615-18446744073709551615"


@pytest.mark.parametrize("what", ["junk", "a copy"])
async def test_a_message_from_far_ahead_hides_nothing(stage: Stage, what: str) -> None:
    """Anybody may publish there under whatever id they like: the words that come after it have smaller ones."""
    await stage.begin()
    async with stage.reading() as reading:
        await stage.say("a")
        await reading.shows("a")
        [*_, (_, fields)] = await stage.redis.xrange(turn_stream(TURN))
        await stage.redis.publish(turn_channel(TURN), FAR + b" " + (b"junk" if what == "junk" else fields[b"e"]))
        await stage.say("b")
        await reading.shows("ab")
