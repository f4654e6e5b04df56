"""People at their pages: each asks, watches, loses the line, comes back with the bytes they have, and sometimes stops."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.faults.stage import Stage
from tests.support.reader import FINAL, Reader

QUIET_SECONDS: Final = 8.0
"""Without a frame for so long the line counts as dead; the page asks first, which comes to the same."""
AGAIN_SECONDS: Final = (0.1, 1.0)
"""Pause before a new try; the page's own is longer."""
GOES_ON: Final = 0.7
LOSES_LINE: Final = 0.25
STOPS: Final = 0.06
LOOKS_TWICE: Final = 0.1
RETRIES: Final = 0.5
"""Shares of turns: in the session of the one before, with a line that breaks in the middle, stopped by hand, watched
on a second page, and, of those that failed, tried again."""
TOKENS: Final = (8, 60)
PAUSE_SECONDS: Final = (0.0, 1.0)


@dataclass(slots=True)
class Page(Reader):
    """One page of one session, from a prompt to its outcome; it is as stubborn as a browser is."""

    dice: random.Random = field(default_factory=random.Random)
    wish: str = ""
    """What happens in the middle: `lose` the line, `stop`."""
    prompt: str = ""
    trouble: str = ""
    """What this page saw and may never be."""
    seconds: float = 0.0
    accepted: bool = False

    async def follow(self, identity: str, sampling: dict[str, Any], given_up: asyncio.Event) -> None:
        """Ask, or resume, until there is an outcome, or nobody waits for one any more."""
        message = {"type": "prompt", "id": identity, "text": self.prompt, "parent": None, "sampling": sampling}
        began = time.monotonic()
        while not self.ending and not given_up.is_set():
            try:
                async with connect(
                    self._socket, additional_headers=self.headers, max_size=None, open_timeout=5, close_timeout=0.2
                ) as socket:
                    self.connections += 1
                    await self._talk(socket, message)
            except (OSError, WebSocketException, TimeoutError, EOFError):
                pass
            except AssertionError as error:
                self.trouble = str(error)
                break
            if not self.ending:
                await asyncio.sleep(self.dice.uniform(*AGAIN_SECONDS))
        self.seconds = time.monotonic() - began

    async def _talk(self, socket: ClientConnection, message: dict[str, Any]) -> None:
        first = {"type": "resume", "turn": self.turn, "at": len(self.shown)} if self.turn else message
        await socket.send(orjson.dumps(first).decode())
        while not self.ending:
            async with asyncio.timeout(QUIET_SECONDS):
                frame = orjson.loads(await socket.recv())
            self._hear(frame)
            self.accepted = self.accepted or bool(self.turn)
            if self.shown and self.wish:
                wish, self.wish = self.wish, ""
                if wish == "lose":
                    raise OSError
                await socket.send(orjson.dumps({"type": "stop", "turn": self.turn}).decode())


@dataclass(frozen=True, slots=True)
class Asked:
    """What one page showed of one turn in the end."""

    session: str
    identity: str
    turn: str
    prompt: str
    shown: str
    ending: dict[str, Any]
    endings: int
    trouble: str
    seconds: float
    second_page: bool = False


class Load:
    """All the people; `asked` is everything that they saw."""

    def __init__(self, stage: Stage, people: int, seed: int) -> None:
        self._stage: Final = stage
        self._people: Final = people
        self._seed: Final = seed
        self.asked: list[Asked] = []
        self.tricks: list[str] = []
        """Words that make an engine misbehave, for the next prompts."""
        self.over = asyncio.Event()
        self.given_up = asyncio.Event()
        self._waiting: set[Page] = set()
        self.refused: Counter[str] = Counter()

    async def run(self) -> None:
        """Ask until `over` is set and the last turn has ended."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._people):
                group.create_task(self._person(number))

    async def _person(self, number: int) -> None:
        dice = random.Random(f"{self._seed} {number}")
        session = ""
        turn = 0
        while not self.over.is_set():
            turn += 1
            if not session or dice.random() > GOES_ON:
                session = await self._session(dice) or session
                if not session:
                    continue
            await self._turn(dice, session, f"Person {number} of run {self._seed}, prompt {turn}.")
            await asyncio.sleep(dice.uniform(*PAUSE_SECONDS))

    async def _session(self, dice: random.Random) -> str:
        headers = {"Authorization": f"Bearer {self._stage.token}"}
        while not self.over.is_set():
            try:
                async with httpx.AsyncClient(base_url=self._stage.url, headers=headers, timeout=8) as client:
                    answer = await client.post("/api/sessions", json={})
                if answer.status_code < 300:
                    return str(answer.json()["id"])
                self.refused[str(answer.status_code)] += 1
            except (httpx.HTTPError, OSError):
                pass
            await asyncio.sleep(dice.uniform(*AGAIN_SECONDS))
        return ""

    async def _turn(self, dice: random.Random, session: str, words: str) -> None:
        if self.tricks:
            words += f" !{self.tricks.pop()} !after={dice.randint(1, 20)}"
        identity = _uuid(dice)
        wish = "lose" if dice.random() < LOSES_LINE else "stop" if dice.random() < STOPS else ""
        page = Page(self._stage.url, self._stage.token, session, dice=dice, prompt=words, wish=wish)
        sampling = {"max_tokens": dice.randint(*TOKENS), "temperature": 0.0}
        second = asyncio.create_task(self._second(page, dice)) if dice.random() < LOOKS_TWICE else None
        await page.follow(identity, sampling, self.given_up)
        self._note(page, identity, second_page=False)
        if second:
            await second

    async def _second(self, first: Page, dice: random.Random) -> None:
        """The same turn on another page, from its beginning."""
        while not first.turn:
            if first.ending or first.trouble or self.given_up.is_set() or (self.over.is_set() and first.seconds):
                return
            await asyncio.sleep(0.1)
        page = Page(first.url, first.token, first.session, turn=first.turn, dice=dice, prompt=first.prompt)
        await page.follow("", {}, self.given_up)
        self._note(page, "", second_page=True)

    def _note(self, page: Page, identity: str, *, second_page: bool) -> None:
        assert not page.ending or page.ending["event"] in FINAL
        self.asked.append(
            Asked(
                page.session,
                identity,
                page.turn,
                page.prompt,
                page.shown.decode(errors="replace"),
                page.ending,
                page.endings,
                page.trouble,
                page.seconds,
                second_page,
            )
        )


def _uuid(dice: random.Random) -> str:
    raw = f"{dice.getrandbits(128):032x}"
    return f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-8{raw[17:20]}-{raw[20:]}"


@contextlib.asynccontextmanager
async def running(load: Load):  # type: ignore[no-untyped-def]  # An iterator of tasks.
    """Let the people ask for as long as the block runs."""
    task = asyncio.create_task(load.run())
    try:
        yield task
    finally:
        load.given_up.set()
        load.over.set()
        await task
