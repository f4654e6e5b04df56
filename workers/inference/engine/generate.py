"""One reply, from the request to its last token, and everything that can happen to it on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

import aiohttp

from workers.inference.engine.child import Child
from workers.inference.engine.chunks import Chunk, ChunkReader, Text
from workers.inference.engine.client import LlamaClient, Slot, reply_body
from workers.inference.engine.errors import (
    EngineCrashed,
    EngineDied,
    EngineError,
    EngineHung,
    EngineRefused,
    EngineUnreachable,
)
from workers.inference.engine.exits import ExitKind
from workers.inference.engine.request import GenerateRequest
from workers.inference.engine.settings import EngineSettings
from workers.inference.engine.sse import EventReader, EventTooLong
from workers.inference.engine.watch import Watch

#: A slot that does not get anywhere in this time is stuck: the slowest machines write a token in less.
ADVANCE_SECONDS = 5.0
ADVANCE_POLL_SECONDS = 0.25
#: A connection breaks a moment before the process behind it is seen to have ended.
EXIT_SECONDS = 2.0
#: So many replies are read word by word; with more, each is left alone for a moment after every look at it, so that
#: what the server wrote meanwhile costs one look instead of one for each token.
EAGER_REPLIES = 8
REST_EACH_SECONDS = 0.0015
REST_SECONDS = 0.15


def rest_seconds(replies: int) -> float:
    """How long a reply is left alone while so many are under way."""
    return 0.0 if replies <= EAGER_REPLIES else min(REST_SECONDS, replies * REST_EACH_SECONDS)


class Reply:
    """One request under way. Closing `chunks()` ends the generation at once."""

    def __init__(
        self,
        client: LlamaClient,
        child: Child | None,
        settings: EngineSettings,
        request: GenerateRequest,
        others: Callable[[], int] = lambda: 1,
    ) -> None:
        """`others` says how many replies are under way."""
        self._client = client
        self._child = child
        self._settings = settings
        self._request = request
        self._others = others
        #: What is taken off the front of the text, where the server repeats the text so far.
        self.repeated = ""

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Progress, text and at last the end; raises EngineError when the reply was cut off."""
        settings = self._settings
        with Watch(settings.prompt_hang_seconds, self._request.deadline_seconds, self._alive) as watch:
            response: aiohttp.ClientResponse | None = None
            try:
                response = await self._open(watch)
                watch.interrupt = response.close
                async for chunk in self._read(response, watch):
                    yield chunk
            except (aiohttp.ClientError, OSError, EventTooLong) as error:
                raise await self._explain(error, watch) from None
            finally:
                if response is not None:
                    # Closes the connection with it: llama.cpp notices and frees the slot.
                    response.close()

    async def _open(self, watch: Watch) -> aiohttp.ClientResponse:
        opening = asyncio.create_task(self._client.open_reply(reply_body(self._request, self._client)))
        watch.interrupt = opening.cancel
        try:
            return await opening
        except asyncio.CancelledError:
            opening.cancel()
            if watch.hung or watch.expired:
                raise await self._explain(None, watch) from None
            raise

    async def _read(self, response: aiohttp.ClientResponse, watch: Watch) -> AsyncGenerator[Chunk, None]:
        events, reader, repeat = EventReader(), ChunkReader(), Repeat(self.repeated)
        writing = False
        while data := await response.content.readany():
            payloads = events.feed(data)
            if not payloads:
                # Pings keep coming from a server whose slots are dead.
                continue
            watch.beat()
            for chunk in reader.take(payloads):
                if isinstance(chunk, Text) and repeat.pending:
                    text = repeat.strip(chunk.text)
                    if not text:
                        continue
                    chunk = replace(chunk, text=text)
                yield chunk
            if reader.writing and not writing:
                writing = True
                watch.expect(self._settings.hang_seconds)
            if reader.done:
                break
            if writing and (seconds := rest_seconds(self._others())):
                await _leave_alone(response, seconds)
        if not reader.done and not reader.finish_reason:
            raise aiohttp.ClientPayloadError("the stream ended before the reply did")
        if rest := repeat.rest():
            yield Text(rest)
        yield reader.end()

    async def _alive(self) -> bool:
        """Whether the server's slots still get somewhere; unknown is no, after so long a silence."""
        try:
            async with asyncio.timeout(ADVANCE_SECONDS):
                before = _marks(await self._client.slots())
                while before:
                    await asyncio.sleep(ADVANCE_POLL_SECONDS)
                    if _marks(await self._client.slots()) != before:
                        return True
        except (TimeoutError, EngineUnreachable):
            return False
        return False

    async def _explain(self, error: Exception | None, watch: Watch) -> EngineError:
        """Why the reply was cut off, in words for whoever waits for it."""
        settings, child = self._settings, self._child
        if watch.expired:
            limit = self._request.deadline_seconds
            return EngineDied(f"The reply took longer than {limit:.0f} s and was ended.")
        if watch.hung:
            return EngineHung(settings.hang_seconds)
        if isinstance(error, EventTooLong):
            return EngineRefused(502, str(error))
        if child is None:
            return EngineUnreachable(self._client.url, "the connection broke")
        exit_ = await child.ended(EXIT_SECONDS)
        if exit_ is None:
            return EngineDied("The connection to llama.cpp broke: try again.")
        if exit_.kind is ExitKind.hung:
            return EngineHung(settings.hang_seconds, exit_.log)
        return EngineCrashed(f"{exit_}.", exit_.log)


async def _leave_alone(response: aiohttp.ClientResponse, seconds: float) -> None:
    """Let what comes gather in the kernel for a while."""
    connection = response.connection
    transport = connection.transport if connection is not None else None
    if transport is None or transport.is_closing():
        return  # All of it is here already.
    transport.pause_reading()
    try:
        await asyncio.sleep(seconds)
    finally:
        if not transport.is_closing():
            transport.resume_reading()


class Repeat:
    """Takes the text so far off the front of a reply that begins with it once more."""

    def __init__(self, text: str) -> None:
        self._expected = text
        self._held = ""
        self.pending = bool(text)

    def strip(self, text: str) -> str:
        """Return what of `text`, and of what was held before, is new."""
        self._held += text
        if self._held.startswith(self._expected):
            self.pending = False
            return self._held[len(self._expected) :]
        if self._expected.startswith(self._held):
            return ""
        self.pending = False
        return self._held

    def rest(self) -> str:
        """What was held when the reply ended: it only looked like a repetition."""
        return self._held if self.pending else ""


def _marks(slots: Sequence[Slot] | None) -> list[Slot]:
    return [slot for slot in slots or () if slot.busy]
