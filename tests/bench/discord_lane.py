"""Figures of the discord lane, under the sandbox's real limits: `make bench-discord`, with ARGS="--minutes 20" for the long talk.

Ends with status 1 where a figure misses its goal. The engine is a paced stand-in, so that it is known when each token
was made. First token with mirror on and off: two stacks side by side on that same engine, asked by turns.
"""

import argparse
import asyncio
import json
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from tests.bench import gateway_drop, mirror, talking
from tests.bench.engine import Engine, engine
from tests.support import sandbox
from tests.support.stack import Stack

PARTS: Final = ("talk", "drop", "mirror")
PAUSE_SECONDS: Final = 3.0
"""What a person takes at least between a reply's end and the next prompt."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report."""

    what: str
    found: float
    unit: str
    goal: float | None
    """What is not to be passed; None where none is set."""

    @property
    def ok(self) -> bool:
        return self.goal is None or self.found <= self.goal

    def __str__(self) -> str:
        places = 0 if self.unit == "" else 2
        goal = f"<= {self.goal:g} {self.unit}".rstrip() if self.goal else "0" if self.goal == 0 else ""
        return f"{self.what:66} {self.found:9.{places}f} {self.unit:3} {goal:9} {'' if self.goal is None else 'ok' if self.ok else 'MISSED'}"


class Report:
    """Says each figure as soon as it is known."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def say(self, what: str, found: float, unit: str = "", goal: float | None = None) -> None:
        """Add a line."""
        self.figures.append(Figure(what, round(found, 3), unit, goal))
        print(str(self.figures[-1]).rstrip(), flush=True)


async def measure(report: Report, parts: list[str], minutes: float, pause: float, rounds: int, folder: Path) -> None:
    """Run what is wanted; each stack is taken down before this returns."""
    with engine(folder, rate=talking.RATE, slots=16, length=talking.TOKENS) as made:
        if "talk" in parts or "drop" in parts:
            async with stack(folder / "a", made, "--lane", "discord", slots=str(talking.SESSIONS)) as one:
                if "talk" in parts:
                    await _talk(report, one, made, minutes * 60, pause)
                if "drop" in parts:
                    await _drops(report, one, made)
        if "mirror" in parts:
            async with stack(folder / "b", made) as on, stack(folder / "c", made, sandbox="off") as off:
                found = await mirror.compare(on, off, rounds)
            report.say("queue lane, first token with the mirror on, p50", found.on, "ms")
            report.say("  with the mirror off", found.off, "ms")
            report.say("  the mirror costs, p50 of the differences", found.costs, "ms", 2.0)


@asynccontextmanager
async def stack(home: Path, made: Engine, *words: str, **settings: str) -> AsyncIterator[Stack]:
    """A stack of its own for as long as the block runs."""
    one = Stack.of(home, llama_url=made.url, **settings)
    try:
        await asyncio.to_thread(one.up, "--port", str(_free_port()), *words)
        yield one
    finally:
        await asyncio.to_thread(one.down)


def _free_port() -> int:
    """A port of its own: others on this machine may be about to take the usual one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _talk(report: Report, one: Stack, made: Engine, seconds: float, pause: float) -> None:
    found = await talking.talk(one, made, seconds, pause)
    posted, refused = await asyncio.to_thread(_answers, one)
    what = f"discord lane, {talking.SESSIONS} sessions, {found.replies} replies of {talking.TOKENS} tokens"
    report.say(f"{what}: minutes", seconds / 60, "min")
    report.say("  a token is shown after its making, p50", median(found.lags), "s")
    report.say("  p95", quantiles(found.lags, n=20)[-1], "s", 1.6)
    report.say("  replies shown otherwise than the engine wrote them, byte for byte", found.shown_wrong, goal=0)
    report.say("  replies kept otherwise than the engine wrote them", found.kept_wrong, goal=0)
    report.say("  prompts given to the engine twice", found.written_twice, goal=0)
    report.say("  messages posted", posted)
    report.say("  requests that Discord answered with 429", refused, goal=0)


def _answers(one: Stack) -> tuple[int, int]:
    """Return how many messages were posted since the start, and how many requests of all were one too many."""
    told = sandbox.ask(one, "requests")
    posts = [one for one in told if one["method"] == "POST" and one["route"].endswith("/messages")]
    refused = [one for one in told if one["status"] == HTTPStatus.TOO_MANY_REQUESTS]
    return sum(one["count"] for one in posts), sum(one["count"] for one in refused)


async def _drops(report: Report, one: Stack, made: Engine) -> None:
    for what, resumes in (("resumed", True), ("begun anew, Discord having forgotten it", False)):
        found = await gateway_drop.drop(one, made, resumes=resumes)
        talk = found.talk
        report.say(f"gateway dropped mid-reply, {what}: every reply goes on after", found.back, "s", 10.0)
        wrong = talk.shown_wrong + talk.kept_wrong + talk.written_twice
        report.say(f"  of {talk.replies} replies lost, doubled or kept otherwise", wrong, goal=0)


def main() -> None:
    """Print the figures, each beside its goal."""
    parser = argparse.ArgumentParser(prog="make bench-discord", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long four sessions talk")
    parser.add_argument("--pause", type=float, default=PAUSE_SECONDS, help="seconds between a reply and the next prompt")
    parser.add_argument("--rounds", type=int, default=40, help="prompts to each stack, mirror on and off")
    parser.add_argument("--only", choices=PARTS, action="append", help="leave the rest out")
    parser.add_argument("--json", action="store_true", help="the same as JSON after the table")
    given = parser.parse_args()
    began, report = time.monotonic(), Report()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        parts = given.only or list(PARTS)
        asyncio.run(measure(report, parts, given.minutes, given.pause, given.rounds, Path(folder)))
    missed = [one for one in report.figures if not one.ok]
    print(f"{len(missed)} of {sum(one.goal is not None for one in report.figures)} goals missed, in {time.monotonic() - began:.0f} s")
    if given.json:
        print(json.dumps([asdict(one) | {"ok": one.ok} for one in report.figures]))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
