"""A node has a door for each lane: both work at once, and when it is cut off from the broker it goes on by Discord."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.wire import names
from tests.support.reader import Reader
from tests.support.stack import Stack
from tests.support.waiting import PATIENCE, until

LONG = "Count from one to one hundred in words, and then tell a long story about it."
SAMPLING = {"max_tokens": 400, "temperature": 0.0, "repeat_penalty": 1.0}
USER = "node-home"
NODE = "node"
FALL_SECONDS = 90
"""For a node to notice on a busy machine, to say so in Discord, and to be believed."""


@contextmanager
def cut(stack: Stack) -> Iterator[None]:
    """Keep the node from Redis, and nobody else."""
    with Redis.from_url(stack.status()["services"]["redis"]) as client:
        client.execute_command("ACL", "SETUSER", USER, "off")
        client.execute_command("CLIENT", "KILL", "USER", USER)
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", USER, "on")


def lane(stack: Stack) -> tuple[str, str]:
    [node] = stack.status()["nodes"]
    return node["lane"], node["state"]


async def test_a_cut_node_goes_on_by_discord_and_comes_back(stack: Stack) -> None:
    await asyncio.to_thread(until, lambda: lane(stack) == ("queue", "ready"), FALL_SECONDS)
    reader = Reader(stack.status()["url"], stack.token())
    asking = asyncio.create_task(reader.ask(LONG, SAMPLING))
    await reader.first_text.wait()
    assert not reader.ending
    with cut(stack):
        await asking
        assert reader.ending["event"] == "done", reader.ending
        assert reader.endings == 1
        assert await kept(reader) == bytes(reader.shown).decode()
        await asyncio.to_thread(until, lambda: lane(stack) == ("discord", "ready"), FALL_SECONDS)
        answer = await asyncio.to_thread(stack.ask, "Say hello.")
        assert (answer["state"], answer["lane"]) == ("done", "discord")
    await asyncio.to_thread(until, lambda: lane(stack) == ("queue", "ready"), FALL_SECONDS)
    answer = await asyncio.to_thread(stack.ask, "Say hello.")
    assert (answer["state"], answer["lane"]) == ("done", "queue")


@asynccontextmanager
async def by_discord(stack: Stack) -> AsyncIterator[None]:
    """Give the node its turns by Discord though it reaches the broker, and says so with each beat."""

    async def say() -> None:
        async with AsyncRedis.from_url(stack.status()["services"]["redis"]) as client:
            while True:
                await client.hset(names.node_key("home"), "lane", "discord")
                await asyncio.sleep(0.02)

    saying = asyncio.create_task(say())
    try:
        yield
    finally:
        saying.cancel()


async def test_both_doors_of_one_process_answer_at_once(stack: Stack) -> None:
    await asyncio.to_thread(until, lambda: lane(stack) == ("queue", "ready"), FALL_SECONDS)
    pid = stack.process(NODE).pid
    url, token = stack.status()["url"], stack.token()
    first, second = Reader(url, token), Reader(url, token)
    asking = asyncio.create_task(first.ask(LONG, {"max_tokens": 2000, "temperature": 0.0, "repeat_penalty": 1.0}))
    await first.first_text.wait()
    async with by_discord(stack):
        await second.ask("Say hello.", {"max_tokens": 40})
        while second.ending.get("lane") == "queue":  # A beat of the node's own came in between.
            second = Reader(url, token)
            await second.ask("Say hello.", {"max_tokens": 40})
    assert second.ending["event"] == "done", second.ending
    assert not first.ending, "the other was still being written"
    async with httpx.AsyncClient(base_url=url, headers=first.headers, timeout=PATIENCE) as client:
        (await client.post(f"/api/turns/{first.turn}/stop")).raise_for_status()
    await asking
    assert first.ending["event"] == "cancelled"
    assert [one.ending["lane"] for one in (first, second)] == ["queue", "discord"]
    for one in (first, second):
        assert (one.attempt, await kept(one)) == (1, bytes(one.shown).decode())
    assert stack.process(NODE).pid == pid


async def kept(reader: Reader) -> str:
    async with httpx.AsyncClient(base_url=reader.url, headers=reader.headers, timeout=PATIENCE) as client:
        messages = (await client.get(f"/api/sessions/{reader.session}")).json()["messages"]
        [reply] = [one["text"] for one in messages if one["role"] == "assistant"]
        return str(reply)
