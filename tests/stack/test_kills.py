"""Kill -9 of each process in the middle of a reply: the turn is answered once, or failed with a reason."""

import asyncio

import pytest

from tests.support.reader import Reader
from tests.support.stack import Stack
from tests.support.waiting import PATIENCE

LONG = "Count from one to one hundred in words, and then tell a long story about it."
SAMPLING = {"max_tokens": 200, "temperature": 0.0, "repeat_penalty": 1.0}


@pytest.mark.parametrize("victim", ["web", "worker", "node", "llama.cpp", "redis", "postgres", "s3", "beat", "flower"])
async def test_killed_in_the_middle_of_a_reply(stack: Stack, victim: str) -> None:
    reader = Reader(stack.status()["url"], stack.token())
    asking = asyncio.create_task(reader.ask(LONG, SAMPLING))
    await reader.first_text.wait()
    assert not reader.ending, "the reply was over before anything could be killed"
    await asyncio.to_thread(stack.kill, victim)
    await asking

    assert reader.endings == 1
    kept = await _kept(reader)
    if reader.ending["event"] == "failed":
        assert reader.ending["reason"]
        return
    assert reader.ending["event"] == "done"
    [reply] = [message for message in kept["messages"] if message["role"] == "assistant"]
    assert reply["turn"] == reader.turn
    assert reply["text"] == reader.ending["text"]
    assert reader.shown.decode() == reply["text"]
    # And whatever was killed, the next prompt is answered as if nothing had been.
    again = await asyncio.to_thread(stack.ask, "Say yes.")
    assert again["state"] == "done"


async def _kept(reader: Reader) -> dict:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await reader.kept()
            except Exception:
                await asyncio.sleep(0.1)
