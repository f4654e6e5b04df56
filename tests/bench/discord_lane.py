"""Figures of the discord lane, under the sandbox's real limits: python -m tests.bench.discord_lane [--minutes 20].

The engine is a stand-in in this process, so that when each token was made is known to ten milliseconds. First token
with mirror on and off: two stacks side by side on that same engine, asked by turns.
"""

import argparse
import asyncio
import json
import re
import socket
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final
from uuid import uuid4

import httpx
from websockets.asyncio.client import connect

from tests.fakes.llama import LlamaFake, Options, Stream, _digest, reply_text
from tests.support import sandbox
from tests.support.reader import FINAL, Reader
from tests.support.stack import Stack

RATE: Final = 50.0
TOKENS: Final = 450
SESSIONS: Final = 4
WARM_UP: Final = 5
"""Prompts to each of the two stacks whose figures are thrown away."""
PAUSE_SECONDS: Final = 0.25


class TimedLlama(LlamaFake):
    """The stand-in, which tells when each reply began."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.begun: dict[int, float] = {}

    async def _advance(self, stream: Stream, now: float) -> None:
        if stream.begin:
            self.begun.setdefault(stream.digest, stream.begin)
        await super()._advance(stream, now)


@dataclass(slots=True)
class Watcher(Reader):
    """A page that notes when how much of the reply was shown."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    def _hear(self, event: dict[str, Any]) -> None:
        before = len(self.shown)
        Reader._hear(self, event)
        if len(self.shown) > before:
            self.seen.append((time.monotonic(), len(self.shown)))


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds, but for the last three lines, which are milliseconds."""

    lag_p50: float
    lag_p95: float
    """From a token's making to its showing, over every token of every reply."""
    replies: int
    wrong: int
    """Replies that were not, byte for byte, what the engine made."""
    too_many_requests: int
    back_after_drop: float
    """From the drop of the Server-Bot's gateway to the next text that was shown."""
    mirror_on_p50: float
    mirror_off_p50: float
    mirror_costs_p50: float


async def measure(minutes: float, rounds: int, folder: Path) -> Figures:
    """Run everything; each stack is taken down before this returns."""
    llama = TimedLlama(Options(rate=RATE, length=TOKENS, slots=16))
    url = await llama.start()
    try:
        async with stack(folder / "a", url, "--lane", "discord", slots="4") as one:
            lags, replies, wrong = await _talk(one, llama, minutes)
            refused = _refused(one)
            back = await _drop(one)
        async with stack(folder / "b", url) as on, stack(folder / "c", url, sandbox="off") as off:
            pair = await _mirror(on, off, rounds)
    finally:
        await llama.stop()
    return Figures(
        round(median(lags), 3),
        round(quantiles(lags, n=20)[-1], 3),
        replies,
        wrong,
        refused,
        round(back, 2),
        *(round(figure, 2) for figure in pair),
    )


@asynccontextmanager
async def stack(home: Path, llama: str, *words: str, **settings: str) -> AsyncIterator[Stack]:
    """A stack of its own for as long as the block runs."""
    made = Stack.of(home, llama_url=llama, **settings)
    try:
        await asyncio.to_thread(made.up, "--port", str(_free_port()), *words)
        yield made
    finally:
        await asyncio.to_thread(made.down)


def _free_port() -> int:
    """A port of its own: others on this machine may be about to take the usual one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _talk(one: Stack, llama: TimedLlama, minutes: float) -> tuple[list[float], int, int]:
    """Let so many sessions talk at once, again and again."""
    address, token = one.status()["url"], await asyncio.to_thread(one.token)
    until = time.monotonic() + minutes * 60
    lags: list[float] = []
    count: Counter[str] = Counter()

    async def person() -> None:
        session = ""
        while not session or time.monotonic() < until:
            words = f"Tell me of {uuid4()}."
            page = await Watcher(address, token, session).ask(words, {"max_tokens": TOKENS, "temperature": 0.0}, seconds=300)
            session = page.session
            messages = next(body["messages"] for body in llama.bodies if body["messages"][-1]["content"] == words)
            whole = reply_text(messages, TOKENS)
            count["replies"] += 1
            count["wrong"] += page.shown.decode() != whole or page.ending["event"] != "done"
            lags.extend(_lags(page, whole, llama.begun[_digest(messages, 0)]))

    await asyncio.gather(*(person() for _ in range(SESSIONS)))
    return lags, count["replies"], count["wrong"]


def _lags(page: Watcher, whole: str, begin: float) -> list[float]:
    """How long after its making each token was shown whole."""
    lags, at = [], 0
    shown = iter(page.seen)
    when, length = next(shown)
    for index, word in enumerate(_tokens(whole)):
        at += len(word.encode())
        while length < at:
            when, length = next(shown)
        lags.append(when - begin - (index + 1) / RATE)
    return lags


def _tokens(whole: str) -> list[str]:
    """The stand-in's tokens: a word each, with the space before it."""
    return re.findall(r"\s*\S+", whole)


def _refused(one: Stack) -> int:
    """How many requests Discord answered with 429 since the start."""
    told = sandbox.ask(one, "requests")
    return sum(one["count"] for one in told if one["status"] == HTTPStatus.TOO_MANY_REQUESTS)


async def _drop(one: Stack) -> float:
    """Drop the Server-Bot's gateway in the middle of a reply; return how long nothing more of it was shown."""
    page = Watcher(one.status()["url"], await asyncio.to_thread(one.token))
    asking = asyncio.create_task(page.ask(f"Tell me of {uuid4()}.", {"max_tokens": TOKENS, "temperature": 0.0}, seconds=300))
    await page.first_text.wait()
    settings = json.loads((one.home / "sandbox.json").read_text())
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {settings['control_token']}"}) as client:
        url = f"http://127.0.0.1:{settings['port']}/sandbox/gateway"
        (await client.post(url, json={"action": "drop", "abrupt": True, "bot": "Server-Bot"})).raise_for_status()
    dropped = time.monotonic()
    await asking
    assert page.ending["event"] == "done", page.ending
    return next(when for when, _ in page.seen if when > dropped) - dropped


async def _mirror(on: Stack, off: Stack, rounds: int) -> tuple[float, float, float]:
    """Ask both by turns; return the middle first token of each, and of the differences, in milliseconds."""
    took: dict[int, list[float]] = {0: [], 1: []}
    places = [(stack.status()["url"], await asyncio.to_thread(stack.token)) for stack in (on, off)]
    for number in range(WARM_UP + rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            await asyncio.sleep(PAUSE_SECONDS)
            took[which].append(await _first(*places[which]))
    mine, other = took[0][WARM_UP:], took[1][WARM_UP:]
    return median(mine), median(other), median(one - two for one, two in zip(mine, other, strict=True))


async def _first(url: str, token: str) -> float:
    """Milliseconds from sending a prompt to its first text, on a socket that is open already."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        session = (await client.post("/api/sessions", json={})).raise_for_status().json()["id"]
    address = f"{url.replace('http', 'ws', 1)}/ws/sessions/{session}"
    async with connect(address, additional_headers=headers, max_size=None, compression=None) as line:
        prompt = {"type": "prompt", "id": str(uuid4()), "text": "Why?", "parent": None, "sampling": {"max_tokens": 8}}
        began = time.monotonic()
        await line.send(json.dumps(prompt))
        first = 0.0
        async for frame in line:
            event = json.loads(frame)["event"]
            if event == "delta" and not first:
                first = (time.monotonic() - began) * 1000
            if event in FINAL:
                break
        return first


def main() -> None:
    """Print the figures, each beside its goal."""
    parser = argparse.ArgumentParser(prog="make bench-discord", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long four sessions talk")
    parser.add_argument("--rounds", type=int, default=40, help="prompts to each stack, mirror on and off")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        figures = asyncio.run(measure(given.minutes, given.rounds, Path(folder)))
    if given.json:
        print(json.dumps(asdict(figures)))
        return
    print(f"discord lane, {figures.replies} replies of {TOKENS} tokens at {RATE:.0f}/s in {SESSIONS} sessions")
    print(f"  token shown after     p50 {figures.lag_p50:6.2f} s   p95 {figures.lag_p95:6.2f} s   (goal: p95 1.6 s)")
    print(f"  replies that are not byte for byte what was made: {figures.wrong}   (goal: 0)")
    print(f"  429 answers: {figures.too_many_requests}   (goal: 0)")
    print(f"  gateway of the Server-Bot dropped: text goes on after {figures.back_after_drop:.1f} s   (goal: 10 s)")
    print("queue lane, first token, two stacks by turns")
    print(f"  mirror on {figures.mirror_on_p50:6.1f} ms   off {figures.mirror_off_p50:6.1f} ms   costs {figures.mirror_costs_p50:5.1f} ms   (goal: 2 ms)")


if __name__ == "__main__":
    main()
