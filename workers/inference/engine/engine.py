"""The node's engine: llama.cpp as one object that fits prompts, makes replies and says how it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from workers.inference.engine.chunks import Chunk, End
from workers.inference.engine.errors import EngineHung, EngineRefused, EngineUnreachable
from workers.inference.engine.generate import Reply
from workers.inference.engine.marks import Marks
from workers.inference.engine.request import GenerateRequest, Message
from workers.inference.engine.settings import EngineSettings
from workers.inference.engine.supervisor import EngineState, Supervisor
from workers.inference.engine.trim import BYTES_PER_TOKEN, TEMPLATE_TOKENS, Fitted, Trimmer

#: A turn that meets a restart waits this long for it: most models load in less, and the node has an attempt
#: to keep.
READY_SECONDS = 30.0
SLOT_POLL_SECONDS = 0.02
#: How much the newest reply moves the average speed.
SPEED_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Health:
    """The engine at one moment, for the node's beat."""

    state: str
    model: str
    slots: int
    busy: int
    #: Tokens per slot.
    ctx_size: int
    #: Of late; 0 before the first reply.
    tokens_per_second: float
    #: Resident bytes of llama.cpp; 0 where it is not ours.
    memory: int
    restarts: int
    last_error: str
    pid: int | None


class Engine:
    """One llama.cpp and all that is asked of it, on one event loop."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.supervisor = Supervisor(settings)
        self.busy = 0
        self._speed = 0.0
        self._marks = Marks(self._holds_marks)

    @property
    def state(self) -> EngineState:
        """What the engine is doing."""
        return self.supervisor.state

    @property
    def continues(self) -> bool:
        """Whether a reply that has begun can be carried on (`GenerateRequest.prefix`)."""
        tried = self.supervisor.tried
        if tried is None:
            # llama.cpp does so; another server has to be seen to (probe.try_stranger).
            client = self.supervisor.client
            return client is None or client.is_llama
        return tried.continues

    async def start(self) -> None:
        """Start and wait until replies can be made; raises the EngineError that stands in the way."""
        await self.supervisor.start()

    async def stop(self) -> None:
        """End llama.cpp; replies under way are cut off."""
        await self.supervisor.stop()

    async def fit(self, request: GenerateRequest) -> Fitted:
        """Leave out the oldest turns of a conversation that is longer than the context, and break the marks typed in it."""
        client = await self.supervisor.wait_ready(READY_SECONDS)
        request = await self._plain(request)
        tried = self.supervisor.tried
        template_tokens = tried.template_tokens if tried is not None else None
        trimmer = Trimmer(self.supervisor.ctx_size, client.count, template_tokens or TEMPLATE_TOKENS)
        return await trimmer.fit(request)

    async def tokens(self, text: str) -> int:
        """How many tokens a text is; an estimate where the server cannot count."""
        client = await self.supervisor.wait_ready(READY_SECONDS)
        counted = await client.tokens(text)
        return counted if counted is not None else -(-len(text.encode()) // BYTES_PER_TOKEN)

    async def _plain(self, request: GenerateRequest) -> GenerateRequest:
        so_far: Message = {"role": "assistant", "content": request.prefix}
        *messages, so_far = await self._marks.plain([*request.messages, so_far])
        return replace(request, messages=messages, prefix=so_far["content"])

    async def _holds_marks(self, text: str) -> bool | None:
        client = await self.supervisor.wait_ready(READY_SECONDS)
        return await client.holds_marks(text)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the reply's chunks. Use under `contextlib.aclosing`: leaving it ends the generation at once."""
        client = await self.supervisor.wait_ready(READY_SECONDS)
        child = self.supervisor.child
        if request.prefix and not self.continues:
            raise EngineRefused(400, "this model cannot carry on a reply that has begun")
        reply = Reply(client, child, self.settings, request, lambda: self.busy)
        tried = self.supervisor.tried
        if tried is not None and tried.repeats:
            reply.repeated = request.prefix
        self.busy += 1
        try:
            async with aclosing(reply.chunks()) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, End):
                        self._note_speed(chunk.usage.tokens_per_second)
                    yield chunk
        except EngineHung as error:
            if child is not None:
                await self.supervisor.restart(child, error)
                error.log = self.supervisor.log.last()
            raise
        finally:
            self.busy -= 1

    async def wait_slot_free(self, seconds: float = 2.0) -> bool:
        """Wait until no slot works for a reply that was closed; False when one still does after `seconds`."""
        client = self.supervisor.client
        if client is None or not client.is_llama:
            return True
        try:
            async with asyncio.timeout(seconds):
                while True:
                    slots = await client.slots()
                    if slots is None or sum(slot.busy for slot in slots) <= self.busy:
                        return True
                    await asyncio.sleep(SLOT_POLL_SECONDS)
        except TimeoutError:
            return False
        except EngineUnreachable:
            # Nothing runs there any more.
            return True

    def health(self) -> Health:
        """A snapshot; asks nobody."""
        supervisor = self.supervisor
        child = supervisor.child
        return Health(
            state=supervisor.state.value,
            model=self._model(),
            slots=self.settings.slots,
            busy=self.busy,
            ctx_size=supervisor.ctx_size,
            tokens_per_second=round(self._speed, 1),
            memory=child.memory() if child is not None else 0,
            restarts=supervisor.restarts,
            last_error=str(supervisor.error) if supervisor.error is not None else "",
            pid=child.pid if child is not None else None,
        )

    def _model(self) -> str:
        """The model's name as people see it; llama-server calls one by the path of its file."""
        client = self.supervisor.client if self.settings.llama_url else None
        name = client.model_name if client is not None else self.settings.public_name()
        return Path(name).stem if name.endswith(".gguf") else name

    def _note_speed(self, tokens_per_second: float) -> None:
        if tokens_per_second > 0:
            old = self._speed or tokens_per_second
            self._speed = old + SPEED_WEIGHT * (tokens_per_second - old)
