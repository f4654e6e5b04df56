"""A node that is cut off from the broker goes on by Discord, and comes back; the turn under way is not lost."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from redis import Redis

from tests.support.reader import Reader
from tests.support.stack import Stack
from tests.support.waiting import until

LONG = "Count from one to one hundred in words, and then tell a long story about it."
SAMPLING = {"max_tokens": 400, "temperature": 0.0, "repeat_penalty": 1.0}
USER = "node-home"
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


async def kept(reader: Reader) -> str:
    async with httpx.AsyncClient(base_url=reader.url, headers=reader.headers) as client:
        messages = (await client.get(f"/api/sessions/{reader.session}")).json()["messages"]
        [reply] = [one["text"] for one in messages if one["role"] == "assistant"]
        return str(reply)
