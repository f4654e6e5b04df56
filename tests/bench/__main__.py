"""`make bench`: the chain against the engine itself, in one run on one machine; a table of goals and figures, or JSON with --json.

Its exit status is 0 where every goal is met. Discord is off here: what it costs is measured by `make bench-discord`.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

import psutil

from tests.bench import load
from tests.bench.engine import Engine, engine
from tests.support.stack import Stack

TOKENS = 100
"""Tokens of a reply: two seconds of the stand-in's writing."""
LONG = 200
WARM_UP = 5
ROUNDS_OF_MANY = 2
SETTLE_SECONDS = 2.0
"""What a start or a round leaves to be done is over by then, and counted with it."""
BETWEEN_SECONDS = 0.15
"""Between two single asks, so that what the one leaves to be done is not counted into the other."""
IDLE_SECONDS = 10.0
"""After a start, before the idle memory is read."""
MEGABYTE = 1e6


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    what: str
    bare: float | None
    """The engine's own, where there is one."""
    chain: float
    most: float | None = None
    """The goal, where it is a bound from above."""
    least: float | None = None

    @property
    def holds(self) -> bool:
        return (self.most is None or self.chain <= self.most) and (self.least is None or self.chain >= self.least)

    @property
    def goal(self) -> str:
        return f"<= {self.most:g}" if self.most is not None else f">= {self.least:g}" if self.least is not None else ""

    def line(self) -> str:
        bare = f"{self.bare:10.1f}" if self.bare is not None else " " * 10
        said = "" if not self.goal else "holds" if self.holds else "MISSED"
        return f"{self.what:56} {bare} {self.chain:10.1f}  {self.goal:8}  {said}".rstrip()


def p(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def cpu_seconds(pids: set[int]) -> float:
    total = 0.0
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return total


def memory(pids: set[int]) -> float:
    """Their memory in megabytes, what is shared counted once (PSS; where the system has none, USS)."""
    total = 0.0
    for pid in pids:
        try:
            told = psutil.Process(pid).memory_full_info()
        except psutil.NoSuchProcess:
            continue
        total += getattr(told, "pss", 0) or told.uss
    return total / MEGABYTE


class Bench:
    """One stack with the stand-in as its engine."""

    def __init__(self, stack: Stack, made: Engine) -> None:
        self.stack, self.engine = stack, made
        self.url, self.token = stack.status()["url"], stack.token()
        self.figures: list[Figure] = []

    def say(self, what: str, chain: float, bare: float | None = None, *, most: float | None = None, least: float | None = None) -> None:
        figure = Figure(what, bare, chain, most, least)
        self.figures.append(figure)
        print(figure.line(), flush=True)

    def idle(self) -> None:
        """Memory before anybody came."""
        time.sleep(IDLE_SECONDS)
        self.say("memory of all our processes, idle, MB (PSS)", memory(self.stack.pids()), most=450)

    def one(self, rounds: int) -> None:
        """First token with one stream, by turns, and how fast the rest follows."""
        bare, chain = [], []
        for number in range(WARM_UP + rounds):
            for kept, ask in ((bare, self._bare), (chain, self._chain)):
                time.sleep(BETWEEN_SECONDS)
                [seen] = ask(1, 4)
                if number >= WARM_UP:
                    kept.append(seen.first_ms)
        self.say("first token, 1 stream, p50 ms", median(chain), median(bare))
        self.say("  added p50 ms", median(chain) - median(bare), most=8)
        self.say("  added p95 ms", p(chain, 95) - p(bare, 95))
        [alone], [through] = self._bare(1, LONG), self._chain(1, LONG)
        self.say("tokens a second, 1 stream, % of the engine's own", 100 * through.pace / alone.pace, least=97)

    def many(self, streams: int) -> None:
        """First token with many streams at once, and the processor time that their tokens take."""
        bare, chain, cpu, tokens, failed = [], [], 0.0, 0, 0
        by_process: dict[str, float] = {}
        opening = 0.0
        self._chain(streams, 4)
        for _ in range(ROUNDS_OF_MANY):
            bare += [seen.first_ms for seen in self._bare(streams, TOKENS)]
            before: dict[str, float] = {}
            came = self._split()

            def open_now(before: dict[str, float] = before) -> None:
                time.sleep(SETTLE_SECONDS)
                before.update(self._split())

            seen = self._chain(streams, TOKENS, open_now)
            time.sleep(SETTLE_SECONDS)
            after = self._split()
            opening += sum(before[name] - came.get(name, 0.0) for name in before)
            for name, spent in after.items():
                by_process[name] = by_process.get(name, 0.0) + spent - before.get(name, 0.0)
            cpu = sum(by_process.values())
            tokens += streams * TOKENS
            chain += [one.first_ms for one in seen if one.first]
            failed += sum(one.state != "done" for one in seen)
        self.say(f"first token, {streams} streams at once, p50 ms", median(chain), median(bare))
        self.say("  added p50 ms", median(chain) - median(bare), most=150)
        self.say("  added p95 ms", p(chain, 95) - p(bare, 95))
        self.say("  replies that did not end as done", failed, most=0)
        self.say("CPU ms per 1,000 tokens, all our processes", cpu * 1e6 / tokens, most=100)
        for name, spent in sorted(by_process.items(), key=lambda item: -item[1])[:6]:
            self.say(f"    of it {name}", spent * 1e6 / tokens)
        self.say("CPU ms for opening a page", opening * 1e3 / (streams * ROUNDS_OF_MANY))

    def wide(self, streams: int) -> None:
        """How far behind the engine the pages are, token by token, and whether all of it arrived."""
        seen = self._chain(streams, LONG)
        made = {one["prompt"]: one for one in self.engine.made()}
        lags, lost = [], 0
        for one in seen:
            reply = made.get(one.prompt)
            if reply is None:
                lost += 1
                continue
            lost += one.text != reply["prefix"] + reply["text"]
            due, length = [], 0
            for index, size in enumerate(reply["sizes"]):
                length += size
                due.append((length, reply["begin"] + (index + 1) / self.engine.rate))
            place = 0
            for have, since in one.arrivals:
                while place < len(due) and due[place][0] <= have:
                    lags.append((since - due[place][1]) * 1000)
                    place += 1
        self.say(f"lag of a token, {streams} streams, p50 ms", median(lags))
        self.say("  p99 ms", p(lags, 99), most=250)
        self.say("  replies that did not end as done", sum(one.state != "done" for one in seen), most=0)
        self.say("  replies that are not what the engine wrote", lost, most=0)

    def _split(self) -> dict[str, float]:
        found = {}
        for name, entry in self.stack.status()["processes"].items():
            process = psutil.Process(entry["pid"])
            found[name] = cpu_seconds({process.pid, *(child.pid for child in process.children(recursive=True))})
        return found

    def _bare(self, streams: int, tokens: int) -> list[load.Seen]:
        return asyncio.run(load.bare(self.engine.url, self._prompts(streams), tokens))

    def _chain(self, streams: int, tokens: int, opened: Callable[[], None] | None = None) -> list[load.Seen]:
        return asyncio.run(load.chain(self.url, self.token, self._prompts(streams), tokens, opened=opened))

    def _prompts(self, streams: int) -> list[str]:
        began = time.monotonic_ns()
        return [f"Say something about {began + number}." for number in range(streams)]


def main() -> None:
    """Measure."""
    words = argparse.ArgumentParser(prog="make bench")
    words.add_argument("--rounds", type=int, default=20)
    words.add_argument("--many", type=int, default=100)
    words.add_argument("--wide", type=int, default=400)
    words.add_argument("--home", type=Path)
    words.add_argument("--json", action="store_true")
    given = words.parse_args()
    print(f"On {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB, load {psutil.getloadavg()[0]:.1f}.\n")
    print(f"{'':56} {'engine':>10} {'chain':>10}  goal")
    with tempfile.TemporaryDirectory() as folder, engine(Path(folder), length=LONG) as made:
        home = given.home or Path(folder) / "home"
        stack = Stack.of(home, llama_url=made.url, slots="512", waiting_limit="1000", sandbox="off")
        stack.up()
        try:
            bench = Bench(stack, made)
            bench.idle()
            bench.one(given.rounds)
            if given.many:
                bench.many(given.many)
            if given.wide:
                bench.wide(given.wide)
        finally:
            stack.down()
    if given.json:
        print(json.dumps([asdict(figure) | {"holds": figure.holds} for figure in bench.figures]))
    missed = sum(not figure.holds for figure in bench.figures)
    goals = sum(bool(figure.goal) for figure in bench.figures)
    print(f"\n{goals - missed} of {goals} goals are met.")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
