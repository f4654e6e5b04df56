"""`make bench-queue`: how soon stop frees a slot, how true the time left is, how soon a killed node's reply goes on."""

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import httpx

from tests.bench import load
from tests.bench.__main__ import p
from tests.bench.engine import engine
from tests.support.doors import DOORS, LONG, SAMPLING, Begun, ByCommand
from tests.support.people import member
from tests.support.reader import Reader
from tests.support.slots import Slots
from tests.support.stack import Stack
from tests.support.waiting import until

LOOK_SECONDS: Final = 0.004
PEOPLE: Final = 24
THINK_SECONDS: Final = 1.5
"""Between a reply and the next prompt: so few that there is always a line."""
SPREAD: Final = 0.5
"""Of the logarithm of a reply's length: most are half to twice as long as the middle one."""
MIDDLE_TOKENS: Final = 60
RATE: Final = 50.0


def say(what: str, figure: float, goal: str) -> None:
    print(f"{what:64} {figure:10.2f}   {goal}", flush=True)


@contextmanager
def running(*words: str, **settings: str) -> Iterator[Stack]:
    """A stack of its own for a block."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack.of(Path(folder) / "home", **settings)
        stack.up(*words)
        try:
            yield stack
        finally:
            stack.down()


def stops(rounds: int, lane: str) -> None:
    """From the act to the slot's end, asked of llama.cpp."""
    goal = "<= 500" if lane == "queue" else "<= 3000"
    with running("--lane", lane) as stack:
        slots, token, dice = Slots.of(stack), stack.token(), random.Random(3)
        for name, door in DOORS.items():
            took: list[float] = []
            while len(took) < rounds:
                one = asyncio.run(_stopped(door(stack, token), slots, dice))
                if one is not None:  # The command gives no sampling along: some of its replies end after a line.
                    took.append(one)
            say(f"{name}, {lane} lane: stop to free slot, p50 ms", median(took), "")
            say(f"{name}, {lane} lane: stop to free slot, p95 ms", p(took, 95), goal)


async def _stopped(begun: Begun, slots: Slots, dice: random.Random) -> float | None:
    """Return the milliseconds that it took; None where the reply was over before."""
    async with httpx.AsyncClient() as client:
        while await slots.busy_async(client):
            await asyncio.sleep(LOOK_SECONDS)
        async with begun.writing():
            await asyncio.sleep(dice.uniform(0, 0.5))
            if not await slots.busy_async(client):
                assert isinstance(begun, ByCommand), "the reply was over before it could be stopped"
                await begun.over()
                return None
            since = time.monotonic()
            await begun.stop()
            while await slots.busy_async(client):
                await asyncio.sleep(LOOK_SECONDS)
            took = (time.monotonic() - since) * 1000
            await begun.over()
    return took


def waits(turns: int) -> None:
    """What people were told of their wait against what it was."""
    dice = random.Random(5)
    with tempfile.TemporaryDirectory() as folder, engine(Path(folder), rate=RATE, slots=8, length=600) as made:
        with running("--nodes", "2", llama_url=made.url, slots="2", waiting_limit="1000") as stack:
            seen = asyncio.run(_crowd(stack, turns, dice))
    waited = [one for one in seen if one.told]
    first = [(one.begun - at, eta) for one in waited for at, eta in one.told[:1]]
    every = [(one.begun - at, eta) for one in waited for at, eta in one.told]
    say(f"turns that waited and were told how long, of {len(seen)}", len(waited), "")
    say("  their true wait, p50 s", median([true for true, _ in first]), "")
    for what, told in (("first word", first), ("every word", every)):
        say(f"  {what} within 30 % of the truth, % of {len(told)}", 100 * _near(told, 0.0), ">= 80")
        say(f"  {what} within 30 % or one second, %", 100 * _near(told, 1.0), "")
        say(f"  {what}: true wait by told, p50", median([true / max(eta, 0.1) for true, eta in told]), "1")


def _near(told: list[tuple[float, float]], grace: float) -> float:
    return sum(abs(true - eta) <= max(0.3 * eta, grace) for true, eta in told) / len(told)


def _people(stack: Stack) -> list[str]:
    """Accounts, each with a token; made here, since each start of the command would take a second."""
    os.environ["MEATLIZARD_HOME"] = str(stack.home)
    return [member(f"person-{number}").token for number in range(PEOPLE)]


async def _crowd(stack: Stack, turns: int, dice: random.Random) -> list[load.Seen]:
    """What people saw; a round before it is not counted: until then nobody can tell how long turns take."""

    def asked(name: str) -> load.Asked:
        tokens = round(min(500, max(5, MIDDLE_TOKENS * dice.lognormvariate(0, SPREAD))))
        return load.Asked(name, tokens, dice.expovariate(1 / THINK_SECONDS))

    url, tokens = stack.status()["url"], await asyncio.to_thread(_people, stack)
    await load.crowd(url, {token: [asked(f"Before {n}.")] for n, token in enumerate(tokens)})
    rounds = -(-turns // PEOPLE)
    return await load.crowd(url, {token: [asked(f"Person {n}, {k}.") for k in range(rounds)] for n, token in enumerate(tokens)})


def takeovers(rounds: int) -> None:
    """From SIGKILL of a node to the next word on the page, from another node with the same model."""
    with running("--nodes", "2", slots="1") as stack:
        token, took = stack.token(), []
        for _ in range(rounds):
            until(lambda: all(one["state"] == "ready" and not one["busy"] for one in stack.status()["nodes"]), 60)
            took.append(asyncio.run(_taken_over(stack, token)))
        say("SIGKILL of a node to the reply's next word elsewhere, p50 s", median(took), "")
        say("SIGKILL of a node to the reply's next word elsewhere, longest s", max(took), "<= 15")


async def _taken_over(stack: Stack, token: str) -> float:
    reader = Reader(stack.status()["url"], token)
    asking = asyncio.create_task(reader.ask(LONG, SAMPLING | {"max_tokens": 400}))
    await reader.first_text.wait()
    busy = [one["name"] for one in (await asyncio.to_thread(stack.status))["nodes"] if one["busy"]]
    assert len(busy) == 1
    process = "node" if busy[0] == "home" else f"node-{busy[0].rpartition('-')[2]}"
    victim = await asyncio.to_thread(stack.process, process)
    victim.send_signal(signal.SIGKILL)
    since = time.monotonic()
    # Started anew it would be there in time to take its own turn up again.
    await asyncio.to_thread(stack.run, "node", "drain", busy[0])
    before = bytes(reader.shown)
    while len(reader.shown) <= len(before) and not reader.ending:
        await asyncio.sleep(0.01)
    took = time.monotonic() - since
    await asking
    assert reader.ending["event"] == "done", reader.ending
    assert reader.attempt == 2
    assert reader.ending["node"] != busy[0], "the other one goes on"
    assert bytes(reader.shown).startswith(before)
    assert reader.shown.decode() == reader.ending["text"]
    await asyncio.to_thread(stack.run, "node", "drain", busy[0], "--undo")
    return took


def main() -> None:
    """Measure."""
    words = argparse.ArgumentParser(prog="make bench-queue")
    parts: dict[str, Callable[[int], None]] = {
        "stops": lambda rounds: stops(rounds, "queue"),
        "stops-by-discord": lambda rounds: stops(rounds, "discord"),
        "waits": waits,
        "takeovers": takeovers,
    }
    usual = {"stops": 20, "stops-by-discord": 10, "waits": 240, "takeovers": 6}
    words.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    words.add_argument("--rounds", type=int)
    given = words.parse_args()
    for name in given.parts or parts:
        parts[name](given.rounds or usual[name])


if __name__ == "__main__":
    main()
