"""`make bench-hostile`: ten people chat while two hundred sockets do their worst; quiet and hostile by turns in one run."""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median

import httpx
import psutil

from tests.bench import load
from tests.bench.__main__ import p
from tests.bench.engine import engine
from tests.support import hostile
from tests.support.stack import Stack

PEOPLE = 10
TOKENS = 25
"""Of a reply: half a second of the stand-in's writing."""
GOAL = 2.0
"""Times the quiet figure that the first token may take."""
SETTLE_SECONDS = 3
"""Until all the attackers are connected and at it: how far they get is theirs, so there is nothing to wait for."""


def main() -> None:
    """Measure, or be the two hundred."""
    words = argparse.ArgumentParser(prog="make bench-hostile")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--seconds", type=float, default=15)
    words.add_argument("--json", action="store_true")
    words.add_argument("--attack", help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.attack:
        asyncio.run(_attack(hostile.Target(**json.loads(given.attack))))
        return
    with tempfile.TemporaryDirectory() as folder, engine(Path(folder), length=TOKENS) as made:
        stack = Stack.of(Path(folder) / "home", llama_url=made.url, slots="64", waiting_limit="1000")
        stack.up()
        try:
            _measure(stack, given.rounds, given.seconds, as_json=given.json)
        finally:
            stack.down()


def _measure(stack: Stack, rounds: int, seconds: float, *, as_json: bool) -> None:
    url, token = stack.status()["url"], stack.token()
    stack.environment["MEATLIZARD_NEW_PASSWORD"] = "wrong horse battery"
    stack.run("user", "add", "mallory")
    target = hostile.Target(url, stack.run("token", "new", "--user", "mallory").stdout.strip(), [])
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {target.token}"}) as client:
        target.sessions = [client.post("/api/sessions").json()["id"] for _ in range(40)]
    web = psutil.Process(stack.status()["processes"]["web"]["pid"])
    asyncio.run(_people(url, token, 3))
    quiet: list[float] = []
    harmed: list[float] = []
    before = web.memory_info().rss
    calm = pressed = 0.0
    for _ in range(rounds):
        began = _spent(web)
        quiet += asyncio.run(_people(url, token, seconds))
        calm += _spent(web) - began
        with _attackers(target):
            time.sleep(SETTLE_SECONDS)
            began = _spent(web)
            harmed += asyncio.run(_people(url, token, seconds))
            pressed += _spent(web) - began
    figures = {
        "quiet_p50_ms": median(quiet),
        "hostile_p50_ms": median(harmed),
        "ratio_p50": median(harmed) / median(quiet),
        "quiet_p95_ms": p(quiet, 95),
        "hostile_p95_ms": p(harmed, 95),
        "ratio_p95": p(harmed, 95) / p(quiet, 95),
        "web_cores_quiet": calm / rounds / seconds,
        "web_cores_hostile": pressed / rounds / seconds,
        "web_grew_mb": (web.memory_info().rss - before) / 1e6,
        "prompts": len(quiet) + len(harmed),
    }
    for name, figure in figures.items():
        print(f"{name:20} {figure:10.2f}", f"  <= {GOAL}" if name.startswith("ratio") else "", flush=True)
    if as_json:
        print(json.dumps(figures))


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def _attackers(target: hostile.Target) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bench.hostile", "--attack", json.dumps(asdict(target))]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.terminate()


async def _attack(target: hostile.Target) -> None:
    os.nice(19)  # In life they have processors of their own; here they must not take the platform's.
    loose = asyncio.create_task(hostile.let_loose(target))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(15, stop.set)
    await stop.wait()
    loose.cancel()
    print(json.dumps(hostile.told(target)), file=sys.stderr, flush=True)


async def _people(url: str, token: str, seconds: float) -> list[float]:
    """Let ten people chat, each with a pause after each reply; return the milliseconds to each first token."""
    until = time.monotonic() + seconds
    found: list[float] = []

    async def person(number: int) -> None:
        await asyncio.sleep(number / PEOPLE)
        while time.monotonic() < until:
            [seen] = await load.chain(url, token, [f"Something about {number} at {time.monotonic_ns()}."], TOKENS)
            assert seen.state == "done", seen
            found.append(seen.first_ms)
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as group:
        for number in range(PEOPLE):
            group.create_task(person(number))
    return found


if __name__ == "__main__":
    main()
