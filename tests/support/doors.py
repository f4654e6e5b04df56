"""The doors at which a turn is begun and stopped, each as its people use it."""

import asyncio
import functools
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from websockets.asyncio.client import connect

from tests.support.reader import Reader
from tests.support.slots import Slots
from tests.support.stack import Stack

LONG = "Count from one to one hundred in words, and then tell a long story about it."
SAMPLING = {"max_tokens": 1000, "temperature": 0.0, "repeat_penalty": 1.0}


class Begun:
    """A turn whose first words have come."""

    def __init__(self, stack: Stack, token: str) -> None:
        self.stack, self.url, self.token = stack, stack.status()["url"], token
        self.seen = ""
        """What its door showed in the end."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @asynccontextmanager
    async def writing(self) -> AsyncIterator["Begun"]:
        """Ask, and give control once text comes."""
        yield self

    async def stop(self) -> None:
        """Press stop, in whatever way this door has."""

    async def over(self) -> None:
        """Wait until the door says that it is over."""


class ByPage(Begun):
    """The page's socket."""

    @asynccontextmanager
    async def writing(self) -> AsyncIterator["ByPage"]:
        self.reader = Reader(self.url, self.token)
        self._asking = asyncio.create_task(self.reader.ask(LONG, SAMPLING))
        await self.reader.first_text.wait()
        async with connect(self.reader._socket, additional_headers=self.headers) as self._second:
            yield self
        await self._asking

    async def stop(self) -> None:
        await self._second.send(json.dumps({"type": "stop", "turn": self.reader.turn}))

    async def over(self) -> None:
        await self._asking
        assert self.reader.ending["event"] == "cancelled", self.reader.ending
        self.seen = self.reader.shown.decode()


class ByApi(Begun):
    """A program that hangs up."""

    @asynccontextmanager
    async def writing(self) -> AsyncIterator["ByApi"]:
        body = {"model": "default", "stream": True, "messages": [{"role": "user", "content": LONG}]}
        body |= {"max_tokens": 1000, "temperature": 0}
        async with AsyncExitStack() as self._line:
            client = await self._line.enter_async_context(httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=60))
            models = (await client.get("/v1/models")).raise_for_status().json()["data"]
            stream = client.stream("POST", "/v1/chat/completions", json=body | {"model": models[0]["id"]})
            lines = (await self._line.enter_async_context(stream)).aiter_lines()
            while not self.seen:
                line = await anext(lines)
                if line.startswith("data: {"):
                    self.seen += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
            yield self

    async def stop(self) -> None:
        await self._line.aclose()


class ByCommand(Begun):
    """`meatlizard chat`, and Ctrl-C."""

    @asynccontextmanager
    async def writing(self) -> AsyncIterator["ByCommand"]:
        slots = Slots.of(self.stack)
        await self._begin()
        # It gives no sampling along, and the model picks its words freely: some replies end after their first line.
        while not await asyncio.to_thread(slots.busy):
            await self._process.communicate()
            await self._begin()
        yield self

    async def _begin(self) -> None:
        words = [*self.stack.command, "chat", LONG, "--home", str(self.stack.home)]
        # As a script starts it in the background: with Ctrl-C ignored, which is the harder case.
        self._process = await asyncio.create_subprocess_exec(
            *words,
            env=self.stack.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=sys.stderr,
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_IGN),
        )
        assert self._process.stdout
        self.seen = (await self._process.stdout.read(1)).decode(errors="replace")
        assert self.seen, "it ended without a word"

    async def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)

    async def over(self) -> None:
        rest, _ = await self._process.communicate()
        self.seen += rest.decode().removesuffix("\n")


DOORS = {"page": ByPage, "API": ByApi, "command line": ByCommand}
