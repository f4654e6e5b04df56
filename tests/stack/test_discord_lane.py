"""A stack whose node has Discord alone: the real model answers through sealed messages, and nothing else."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest

from app.wire import hops
from tests.support import sandbox
from tests.support.reader import Reader
from tests.support.stack import Stack
from tests.support.waiting import PATIENCE, until

PROMPT = "Repeat after me: walrus-tangerine-piccolo."
MARKERS = ("walrus", "tangerine", "piccolo")
LONG = "Count from one to one hundred in words, and then tell a long story about it."


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack.of(tmp_path_factory.mktemp("discord") / "home")
    stack.up("--lane", "discord")
    try:
        yield stack
    finally:
        stack.down()


def test_status_tells_the_lane(stack: Stack) -> None:
    [node] = stack.status()["nodes"]
    assert (node["name"], node["lane"], node["state"]) == ("home", "discord", "ready")


def test_the_node_knows_of_no_redis(stack: Stack) -> None:
    text = (stack.home / "nodes" / "home.env").read_text()
    assert "REDIS" not in text
    assert "DISCORD_TOKEN" in text
    assert "node-home" not in (stack.home / "run" / "valkey.acl").read_text()


def test_the_model_answers(stack: Stack) -> None:
    answer = stack.ask("Say hello.")
    assert (answer["state"], answer["lane"], answer["node"]) == ("done", "discord", "home")
    assert answer["text"].strip()
    # Its way is told hop by hop, on one clock: the node's own stamps came sealed, by Discord.
    told = json.loads(stack.run("trace", answer["turn"], "--json").stdout)
    assert told["lane"] == "discord"
    parts = {bar["name"]: bar for bar in told["bars"]}
    assert {step.name for step in hops.STEPS if step.where in ("node", "llama.cpp")} <= set(parts)
    way = [told["hops"][hop] for hop in (hops.KEPT, hops.DISPATCHED, hops.ARRIVED, hops.READING, hops.FIRST, hops.LAST, hops.ENDED)]
    # The node's clock was put straight by way of Discord: right to a quarter of a second, whatever it said.
    assert all(later >= earlier - 250 for earlier, later in pairwise(way)), told["hops"]


async def test_what_is_shown_is_kept_and_nowhere_in_discord(stack: Stack) -> None:
    reader = await Reader(stack.status()["url"], stack.token()).ask(PROMPT, {"max_tokens": 60, "temperature": 0.0})
    assert reader.ending["event"] == "done"
    [reply] = [one for one in await _messages(reader) if one["role"] == "assistant"]
    assert reply["text"].encode() == bytes(reader.shown)
    assert len(sandbox.messages(stack)) > 2
    assert not sandbox.leaks(stack, MARKERS, reader.shown.decode())
    # The search would find it: what is looked for is written there once, as somebody would.
    marker = secrets.token_hex(8)
    sandbox.say(stack, marker)
    assert sandbox.holds(stack, marker)


async def test_stop_frees_the_slot(stack: Stack) -> None:
    reader = Reader(stack.status()["url"], stack.token())
    asking = asyncio.create_task(reader.ask(LONG, {"max_tokens": 1000, "temperature": 0.0, "repeat_penalty": 1.0}))
    await reader.first_text.wait()
    assert not reader.ending
    async with httpx.AsyncClient(base_url=reader.url, headers=reader.headers, timeout=PATIENCE) as client:
        (await client.post(f"/api/turns/{reader.turn}/stop")).raise_for_status()
    await asking
    assert reader.ending["event"] == "cancelled"
    await asyncio.to_thread(until, lambda: stack.status()["nodes"][0]["busy"] == 0)


def test_another_up_with_other_wishes_is_refused(stack: Stack) -> None:
    for words in (("--lane", "queue"), ("--nodes", "2"), ("--port", "9")):
        refused = stack.run("up", "--detach", *words, check=False)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        assert f"{words[0]} " in refused.stderr
        assert "meatlizard down" in refused.stderr
    assert "already running" in stack.up("--lane", "discord", "--nodes", "1")


async def _messages(reader: Reader) -> list[dict[str, str]]:
    async with httpx.AsyncClient(base_url=reader.url, headers=reader.headers, timeout=PATIENCE) as client:
        found: list[dict[str, str]] = (await client.get(f"/api/sessions/{reader.session}")).json()["messages"]
        return found
