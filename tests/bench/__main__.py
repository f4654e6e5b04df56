"""`make bench`: the chain against the engine itself, in one run on one machine; prints a table, or JSON with --json."""

import argparse
import asyncio
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

import psutil

from tests.bench import load
from tests.bench.engine import Engine, engine
from tests.support.stack import Stack

TOKENS = 100
"""Tokens of a reply: two seconds of the stand-in's writing."""
WARM_UP = 5


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    what: str
    bare: float | None
    chain: float
    goal: str


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


class Bench:
    """One stack with the stand-in as its engine."""

    def __init__(self, stack: Stack, made: Engine) -> None:
        self.stack, self.engine = stack, made
        self.url, self.token = stack.status()["url"], stack.token()
        self.figures: list[Figure] = []

    def say(self, what: str, bare: float | None, chain: float, goal: str) -> None:
        figure = Figure(what, bare, chain, goal)
        self.figures.append(figure)
        alone = f"{bare:10.1f}" if bare is not None else " " * 10
        print(f"{what:58} {alone} {chain:10.2f}   {goal}", flush=True)

    def one(self, rounds: int) -> None:
        """First token with one stream, by turns."""
        bare, chain = [], []
        for number in range(WARM_UP + rounds):
            for kept, ask in ((bare, self._bare), (chain, self._chain)):
                time.sleep(0.15)
                [seen] = ask(1, 4)
                if number >= WARM_UP:
                    kept.append(seen.first_ms)
        self.say("first token, 1 stream, p50 ms", median(bare), median(chain), "")
        self.say("  added p50 ms", None, median(chain) - median(bare), "<= 8")
        self.say("  added p95 ms", None, p(chain, 95) - p(bare, 95), "")

    def many(self, streams: int, rounds: int) -> None:
        """First token with many streams at once, and the processor time that their tokens take."""
        bare, chain, cpu, tokens = [], [], 0.0, 0
        by_process: dict[str, float] = {}
        self._chain(streams, 4)
        for _ in range(rounds):
            bare += [seen.first_ms for seen in self._bare(streams, TOKENS)]
            before, split = cpu_seconds(self.stack.pids()), self._split()
            seen = self._chain(streams, TOKENS)
            cpu += cpu_seconds(self.stack.pids()) - before
            for name, spent in self._split().items():
                by_process[name] = by_process.get(name, 0.0) + spent - split.get(name, 0.0)
            tokens += streams * TOKENS
            chain += [one.first_ms for one in seen]
        self.say(f"first token, {streams} streams at once, p50 ms", median(bare), median(chain), "")
        self.say("  added p50 ms", None, median(chain) - median(bare), "<= 150")
        self.say("  added p95 ms", None, p(chain, 95) - p(bare, 95), "")
        self.say("CPU ms per 1,000 tokens, all our processes", None, cpu * 1e6 / tokens, "<= 100")
        for name, spent in sorted(by_process.items(), key=lambda item: -item[1])[:6]:
            self.say(f"    of it {name}", None, spent * 1e6 / tokens, "")

    def wide(self, streams: int) -> None:
        """How far behind the engine the pages are, token by token, and whether all of it arrived."""
        seen = self._chain(streams, 200)
        made = {one["prompt"]: one for one in self.engine.made()}
        lags, lost = [], 0
        for one in seen:
            reply = made[one.prompt]
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
        self.say(f"lag of a token, {streams} streams, p50 ms", None, median(lags), "")
        self.say("  p99 ms", None, p(lags, 99), "<= 250")
        self.say("  replies that are not what the engine wrote", None, lost, "0")

    def _split(self) -> dict[str, float]:
        found = {}
        for name, entry in self.stack.status()["processes"].items():
            process = psutil.Process(entry["pid"])
            found[name] = cpu_seconds({process.pid, *(child.pid for child in process.children(recursive=True))})
        return found

    def _bare(self, streams: int, tokens: int) -> list[load.Seen]:
        return asyncio.run(load.bare(self.engine.url, self._prompts(streams), tokens))

    def _chain(self, streams: int, tokens: int) -> list[load.Seen]:
        seen = asyncio.run(load.chain(self.url, self.token, self._prompts(streams), tokens))
        assert all(one.state == "done" for one in seen), [one.state for one in seen]
        return seen

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
    with tempfile.TemporaryDirectory() as folder, engine(Path(folder), length=200) as made:
        stack = Stack.of(given.home or Path(folder) / "home", llama_url=made.url, slots="512", waiting_limit="1000")
        stack.up()
        try:
            bench = Bench(stack, made)
            bench.one(given.rounds)
            if given.many:
                bench.many(given.many, 3)
            if given.wide:
                bench.wide(given.wide)
            if given.json:
                print(json.dumps([asdict(figure) for figure in bench.figures]))
        finally:
            stack.down()


if __name__ == "__main__":
    main()
