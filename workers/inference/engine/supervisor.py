"""Keeps one llama.cpp running: starts it, proves it works, starts it again, and says what went wrong."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import deque
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from time import monotonic

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from workers.inference.engine.child import Child
from workers.inference.engine.client import LlamaClient
from workers.inference.engine.command import (
    LOOPBACK,
    Machine,
    Program,
    command_line,
    find_program,
    free_port,
    guarded,
    read_options,
)
from workers.inference.engine.errors import (
    EngineCrashed,
    EngineError,
    EngineMisconfigured,
    EngineNotReady,
    EngineUnreachable,
    ModelUnusable,
)
from workers.inference.engine.exits import Exit, ExitKind
from workers.inference.engine.log import EngineLog
from workers.inference.engine.model import check_model
from workers.inference.engine.probe import Tried, check_shape, try_out, try_stranger
from workers.inference.engine.record import EngineRecord
from workers.inference.engine.settings import EngineSettings

log = structlog.get_logger(__name__)

#: 1, 2, 4 ... 60 s between starts; the jitter keeps several nodes of one machine apart.
PAUSE = wait_exponential(multiplier=1, max=60) + wait_random(0, 0.5)
#: So many ends within so long, and the engine is called degraded (it is still tried, once a minute).
CRASHES = 5
CRASH_WINDOW_SECONDS = 600.0
#: After a second end for lack of memory each start asks for half the context, down to what a short chat
#: needs.
MEMORY_ENDS = 2
LEAST_CTX_SIZE = 1024
HEALTH_POLL_SECONDS = 0.05
#: A server that is not ours is only looked at.
REMOTE_POLL_SECONDS = 5.0
HELP_SECONDS = 10.0


class EngineState(StrEnum):
    """What the engine is doing; `failed` needs a person, `degraded` may come back by itself."""

    stopped = "stopped"
    starting = "starting"
    ready = "ready"
    degraded = "degraded"
    failed = "failed"


class ChildEnded(Exception):
    """The child ended on its own; carries why."""

    def __init__(self, exit_: Exit) -> None:
        super().__init__(str(exit_))
        self.exit = exit_


class Supervisor:
    """Owns the child, or watches the server at MEATLIZARD_LLAMA_URL; `client` talks to whichever it is."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.state = EngineState.stopped
        self.client: LlamaClient | None = None
        self.child: Child | None = None
        #: Tokens per slot, as the server says.
        self.ctx_size = settings.ctx_size
        #: What a first short reply showed, of our own child and of a server that is no llama-server; one that is, and is
        #: not ours, is not put to the trouble.
        self.tried: Tried | None = None
        self.restarts = 0
        self.error: EngineError | None = None
        self.log = EngineLog(settings.log_path)
        self._record = EngineRecord(settings.run_dir, settings.node)
        self._ends: deque[tuple[float, Exit]] = deque()
        self._changed = asyncio.Condition()
        self._keeper: asyncio.Task[None] | None = None
        self._options: frozenset[str] | None = None

    async def start(self) -> None:
        """Start, and return once the engine is ready; raise what stands in the way, in words for a person.

        A degraded engine goes on trying after this has raised; a failed one does not.
        """
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep())
            await self._set(EngineState.starting)
        await self.wait_ready(None)

    async def stop(self) -> None:
        """End the child and forget it. May be called in any state, more than once."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None
        await self._drop()
        await self._set(EngineState.stopped)

    async def restart(self, child: Child, error: EngineError) -> None:
        """End a `child` that hangs, if it is still the current one; the keeper starts the next."""
        if child is not self.child or child.hung:
            return
        log.error("llama.cpp hangs and is ended", pid=child.pid, error=str(error))
        child.hung = True
        self.error = error
        await child.stop()

    async def wait_ready(self, seconds: float | None) -> LlamaClient:
        """The client once the engine is ready; raises EngineNotReady after `seconds`, sooner when hopeless."""
        if not self._settled():
            try:
                async with asyncio.timeout(seconds), self._changed:
                    await self._changed.wait_for(self._settled)
            except TimeoutError:
                raise EngineNotReady("llama.cpp is still starting: try again in a moment.") from None
        if self.state is EngineState.ready and self.client is not None:
            return self.client
        if self.state is EngineState.stopped or self.error is None:
            raise EngineNotReady("llama.cpp is stopped: start the node.")
        raise self.error

    def _settled(self) -> bool:
        # A child may have ended a moment before the keeper says so.
        gone = self.state is EngineState.ready and self.child is not None and self.child.over
        return self.state is not EngineState.starting and not gone

    async def _keep(self) -> None:
        try:
            if self.settings.llama_url:
                await self._follow_remote()
            await self._record.end_orphan()
            model = check_model(self.settings.model)
            program = await self._program()
            while True:
                # A child that ended after a long calm starts the pauses over.
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(ChildEnded), wait=PAUSE, before_sleep=self._announce
                ):
                    with attempt:
                        await self._run(program, model)
        except EngineError as error:
            await self._drop()
            await self._fail(error)
        except Exception as error:
            log.exception("The engine's supervisor failed")
            await self._drop()
            await self._fail(EngineError(f"The engine could not be started: {error}"))

    async def _run(self, program: Program, model: Path) -> None:
        """One child from start to end."""
        settings = self._affordable()
        child = await self._spawn(program, model, settings)
        begun = monotonic()
        try:
            async with asyncio.timeout(settings.start_limit()):
                await self._until_ready(child, settings)
            await self._set(EngineState.ready)
            seconds = round(monotonic() - begun, 2)
            log.info("llama.cpp is ready", pid=child.pid, port=child.port, seconds=seconds)
            exit_ = await child.wait()
        except TimeoutError:
            child.hung = True
            exit_ = await child.stop()
        except EngineUnreachable:
            # It ended, or stopped listening, between two questions.
            exit_ = await child.stop()
        except BaseException:
            child.stopped = True
            await child.stop()
            raise
        await self._ended(exit_, model)
        if not child.ready or monotonic() - begun < CRASH_WINDOW_SECONDS:
            raise ChildEnded(exit_)

    async def _spawn(self, program: Program, model: Path, settings: EngineSettings) -> Child:
        port, key = free_port(), secrets.token_urlsafe(32)
        key_file = self._key_file()
        key_file.parent.mkdir(parents=True, exist_ok=True)
        key_file.unlink(missing_ok=True)
        with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(key)
        line = command_line(program, settings, model, port, key_file, Machine.here())
        log.info("Starting llama.cpp", command=" ".join(line))
        self.child = await Child.spawn(guarded(line, os.getpid()), port, self.log)
        self.client = LlamaClient(f"http://{LOOPBACK}:{port}", key, settings.public_name())
        self._write_record()
        return self.child

    async def _until_ready(self, child: Child, settings: EngineSettings) -> None:
        """Wait for the model, compare what came up with what was asked, and have a first token written."""
        client = self.client
        assert client is not None
        while not await _healthy(client):
            if exit_ := await child.ended(HEALTH_POLL_SECONDS):
                raise EngineUnreachable(client.url, str(exit_))
        self.ctx_size = await check_shape(client, settings)
        child.ready = True
        self.tried = await try_out(client)

    async def _ended(self, exit_: Exit, model: Path) -> None:
        """Count an end that nobody asked for, and decide what it means."""
        now = monotonic()
        if exit_.kind is not ExitKind.port:
            self._ends.append((now, exit_))
        while self._ends and now - self._ends[0][0] > CRASH_WINDOW_SECONDS:
            self._ends.popleft()
        log.error("llama.cpp ended", cause=exit_.kind.value, status=exit_.status, last_lines=exit_.log[-3:])
        if exit_.kind is ExitKind.model:
            raise ModelUnusable(model, "cannot be loaded by llama.cpp", exit_.log)
        if exit_.hopeless:
            raise EngineMisconfigured(f"{exit_}.", exit_.log)
        self.restarts += 1
        many = len(self._ends) >= CRASHES
        often = f" {len(self._ends)} times in {CRASH_WINDOW_SECONDS / 60:.0f} minutes" if many else ""
        self.error = EngineCrashed(f"{exit_}{often}; it is being started again.", exit_.log)
        await self._set(EngineState.degraded if many else EngineState.starting)
        await self._drop()

    def _affordable(self) -> EngineSettings:
        """The settings, with less context after repeated ends for lack of memory."""
        short = sum(1 for _, exit_ in self._ends if exit_.kind is ExitKind.out_of_memory)
        if short < MEMORY_ENDS:
            return self.settings
        least = min(LEAST_CTX_SIZE, self.settings.ctx_size)
        halved = max(least, self.settings.ctx_size >> (short - MEMORY_ENDS + 1))
        log.warning("Starting with less context, for lack of memory", ctx_size=halved)
        return replace(self.settings, ctx_size=halved)

    async def _program(self) -> Program:
        program = find_program(self.settings)
        if program.binary is None:
            return program
        # A machine that starves for a while is no reason to give up for good: it is asked again.
        patient = AsyncRetrying(retry=retry_if_exception_type(TimeoutError), wait=PAUSE, before_sleep=self._announce)
        return await patient(self._ask_options, program)

    async def _ask_options(self, program: Program) -> Program:
        try:
            asked = await asyncio.create_subprocess_exec(
                *program.argv, "--help", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
        except OSError as error:
            raise EngineMisconfigured(f"{program.binary} does not run ({error}).") from None
        try:
            output, _ = await asyncio.wait_for(asked.communicate(), HELP_SECONDS)
        except TimeoutError:
            self.error = EngineNotReady(f"{program.binary} has not said in {HELP_SECONDS:.0f} s which options it knows.")
            asked.kill()
            raise
        return replace(program, known=read_options(output.decode("utf-8", "replace")))

    async def _follow_remote(self) -> None:
        """Look after a server that is not ours: tell whether it answers, for ever."""
        client = self.client = LlamaClient(
            self.settings.llama_url, self.settings.llama_api_key, self.settings.public_name()
        )
        begun, known = monotonic(), False
        while True:
            try:
                if not await client.healthy():
                    raise EngineUnreachable(client.url, "not ready")
                if not known:
                    self.ctx_size = await check_shape(client, self.settings)
                    if not self.settings.model_name:
                        # It may have many, and refuse a name it does not know.
                        client.model_name = await client.first_model() or client.model_name
                    known = True
                await self._set(EngineState.ready)
                if not client.is_llama and self.tried is None:
                    self.tried = await try_stranger(client)
            except EngineUnreachable as error:
                self.error = error
                known = False
                if self.state is EngineState.ready or monotonic() - begun > self.settings.start_limit():
                    await self._set(EngineState.degraded)
            await asyncio.sleep(REMOTE_POLL_SECONDS if known else HEALTH_POLL_SECONDS * 10)

    async def _drop(self) -> None:
        """Forget the current child; it has ended or does so now."""
        child, self.child = self.child, None
        client, self.client = self.client, None
        if child is not None:
            child.stopped = True
            await child.stop()
        if client is not None:
            await client.close()
        self._key_file().unlink(missing_ok=True)
        self._record.remove()

    async def _fail(self, error: EngineError) -> None:
        self.error = error
        log.error("The engine gives up", error=str(error))
        await self._set(EngineState.failed)

    async def _set(self, state: EngineState) -> None:
        async with self._changed:
            self.state = state
            self._changed.notify_all()
        self._write_record()

    def _write_record(self) -> None:
        processes = self.child.processes() if self.child is not None else []
        if processes and self.child is not None:
            main = processes[0]
            self._record.write(main.pid, main.create_time(), self.child.port, self.state.value)

    def _announce(self, attempt: RetryCallState) -> None:
        pause = attempt.next_action.sleep if attempt.next_action is not None else 0.0
        log.warning("llama.cpp is started again", pause=round(pause, 1), attempt=attempt.attempt_number)

    def _key_file(self) -> Path:
        return self.settings.run_dir / f"{self.settings.node}.engine.key"


async def _healthy(client: LlamaClient) -> bool:
    try:
        return await client.healthy()
    except EngineUnreachable:
        return False
