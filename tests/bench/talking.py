"""Sessions that talk for a while, every byte held against what the engine wrote: what was lost, doubled, and how late it was."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from tests.bench.engine import Engine
from tests.support.reader import Reader
from tests.support.stack import Stack

RATE: Final = 50.0
"""Tokens a second of each reply."""
TOKENS: Final = 450
SESSIONS: Final = 4
REPLY_SECONDS: Final = 300.0
"""A reply takes nine; what takes this long has hung."""
SAMPLING: Final = {"max_tokens": TOKENS, "temperature": 0.0}


@dataclass(slots=True)
class Watcher(Reader):
    """A page that notes since when how much of the reply was shown."""

    prompt: str = ""
    seen: list[tuple[float, int]] = field(default_factory=list)
    """Moments of this machine's monotonic clock, and bytes shown then."""

    def _hear(self, event: dict[str, Any]) -> None:
        before = len(self.shown)
        Reader._hear(self, event)
        if len(self.shown) > before:
            self.seen.append((time.monotonic(), len(self.shown)))

    async def tell(self) -> "Watcher":
        """Ask for a reply that nobody had before, and follow it to its end."""
        self.prompt = f"Tell me of {uuid4()}."
        await self.ask(self.prompt, SAMPLING, seconds=REPLY_SECONDS)
        return self


@dataclass(frozen=True, slots=True)
class Talk:
    """What came of it; times in seconds."""

    replies: int
    shown_wrong: int
    """Replies of which a page showed anything but, byte for byte, what the engine wrote."""
    kept_wrong: int
    """The same of what the platform keeps."""
    written_twice: int
    """Prompts that the engine was given more than once."""
    lags: list[float]
    """From each token's making to its showing, over every reply."""


async def talk(one: Stack, engine: Engine, seconds: float, pause: float) -> Talk:
    """Let the sessions talk at once, reply after reply in the same session, with a person's pause between them."""
    address, token = (await asyncio.to_thread(one.status))["url"], await asyncio.to_thread(one.token)
    until = time.monotonic() + seconds
    pages: list[Watcher] = []

    async def person() -> None:
        session, parent = "", None
        while not session or time.monotonic() < until:
            page = await Watcher(address, token, session, parent).tell()
            pages.append(page)
            session, parent = page.session, page.ending.get("message")
            await asyncio.sleep(pause)

    await asyncio.gather(*(person() for _ in range(SESSIONS)))
    return await judge(pages, engine)


async def judge(pages: list[Watcher], engine: Engine) -> Talk:
    """Hold what was shown and what is kept against what was made."""
    made: dict[str, list[dict[str, Any]]] = {}
    for note in await asyncio.to_thread(engine.made):
        made.setdefault(note["prompt"], []).append(note)
    kept = {page.session: await _kept(page) for page in {page.session: page for page in pages}.values()}
    shown_wrong = kept_wrong = twice = 0
    lags: list[float] = []
    for page in pages:
        notes = made[page.prompt]
        whole = notes[-1]["prefix"] + notes[-1]["text"]
        twice += len(notes) > 1
        right = page.ending["event"] == "done" and page.endings == 1 and page.shown.decode() == whole
        shown_wrong += not right
        kept_wrong += kept[page.session].get(page.prompt) != [whole]
        if right and len(notes) == 1:
            lags += _lags(page, notes[0], engine.rate)
    return Talk(len(pages), shown_wrong, kept_wrong, twice, lags)


async def _kept(page: Watcher) -> dict[str, list[str]]:
    """Return the replies to each prompt of a session."""
    messages = (await page.kept())["messages"]
    prompts = {one["id"]: one["text"] for one in messages if one["role"] == "user"}
    kept: dict[str, list[str]] = {}
    for one in messages:
        if one["role"] == "assistant":
            kept.setdefault(prompts[one["parent"]], []).append(one["text"])
    return kept


def _lags(page: Watcher, note: dict[str, Any], rate: float) -> list[float]:
    """Return how long after its making each token was shown whole."""
    lags, at, start = [], 0, 0
    shown = iter(page.seen)
    when, length = next(shown)
    for index, size in enumerate(note["sizes"]):
        at += len(note["text"][start : start + size].encode())
        start += size
        while length < at:
            when, length = next(shown)
        lags.append(when - note["begin"] - (index + 1) / rate)
    return lags
