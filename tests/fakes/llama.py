"""A paced stand-in for llama-server: the HTTP surface we use, text that can be computed again, misbehaviour on demand.

    python -m tests.fakes.llama --port 8080 --rate 50 --first-ms 20 --slots 100 --record made.jsonl

Pacing is one timer for all streams, so that a hundred of them at 50 tokens/s take less than half a core. Every
request leaves a JSON line in `--record`: {"id", "digest", "prefix", "text", "tokens", "finish"}; a checker compares
`prefix` + `text` with `reply_text(prompt, tokens)`. For figures: the last `prompt`, `begin` (when the first token was
due, on the machine's monotonic clock) and the `sizes` of the tokens in characters.

Misbehaviour is asked for by a word in the last user message: `!crash`, `!oom`, `!hang`, `!garbage`, `!drop` (the
stream ends early), each after `!after=N` tokens (default 3), or `!error` (status 500); `!slow=S` reads the prompt
for S seconds, with progress; `!quiet=S` does so without.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import orjson
from aiohttp import web

#: Two writes a stream and period at most; coarser than the pace of any model we imitate.
TICK_SECONDS = 0.01
#: A token of this stand-in is a word of the prompt or a mark around a message.
MESSAGE_TOKENS = 4
PING_SECONDS = 1.0
TRICKS = ("crash", "oom", "hang", "garbage", "drop")
#: What stands before and after the text in the event of one token.
HEAD = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":'
TAIL = b"}}]}\n\n"
OUT_OF_MEMORY = "ggml_metal: error: Insufficient Memory (kIOGPUCommandBufferCallbackErrorOutOfMemory)"
WORDS = [
    "the",
    "quiet",
    "harbour",
    "wakes",
    "and",
    "a",
    "small",
    "boat",
    "turns",
    "toward",
    "open",
    "water",
    "while",
    "gulls",
    "argue",
    "über",
    "grüne",
    "Dächer",
    "灯台",
    "🦎",
    "then",
    "nobody",
    "counts",
    "**bold**",
    "steps",
    "along",
    "`code`",
    "paths,",
    "because",
    "rain",
    "writes",
    "its",
    "own",
    "list:",
    "one,",
    "two,",
    "three.",
]


def reply_text(prompt: Any, tokens: int, seed: int = 0) -> str:
    """The text of `tokens` tokens that this stand-in writes to `prompt` (the messages before the reply)."""
    return "".join(_token(_digest(prompt, seed), index) for index in range(tokens))


def _digest(prompt: Any, seed: int) -> int:
    content = json.dumps([[one["role"], one["content"]] for one in prompt], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(f"{seed}:{content}".encode()).digest()[:8], "big")


def _token(digest: int, index: int) -> str:
    # A linear walk is enough to make every reply differ and every place in it known.
    word = WORDS[(digest + index * (1 + digest % 13) + index * index) % len(WORDS)]
    return word if index == 0 else ("\n\n" if index % 40 == 0 else " ") + word


def count_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """The stand-in's own tokenizer."""
    return sum(MESSAGE_TOKENS + len(one["content"].split()) for one in messages)


@dataclass
class Options:
    """How this one behaves."""

    port: int = 0
    rate: float = 50.0
    first_ms: float = 20.0
    slots: int = 4
    ctx_size: int = 8192
    #: Tokens of a reply that nobody limits; a real model stops by itself too.
    length: int = 100
    api_key: str = ""
    record: Path | None = None
    #: Only what any OpenAI-compatible server has: no /props, /slots, /tokenize.
    foreign: bool = False


@dataclass
class Stream:
    """One reply being written."""

    id: int
    response: web.StreamResponse
    digest: int
    want: int = 0
    #: The last user message.
    prompt: str = ""
    #: When the first token of the whole reply was due; 0 while nothing is to be written.
    begin: float = 0.0
    #: The same, kept to the end: a moment of this machine's monotonic clock.
    began: float = 0.0
    made: int = 0
    #: The end of a token that a continued text was cut in.
    rest: str = ""
    sent: list[str] = field(default_factory=list)
    #: A word of misbehaviour and after how many tokens it comes.
    trick: str = ""
    trick_at: int = 3
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    stuck: bool = False
    finish: str = ""


class LlamaFake:
    """The server; `streams` are its busy slots."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.streams: dict[int, Stream] = {}
        self.made: list[dict[str, Any]] = []
        self.bodies: list[dict[str, Any]] = []
        self._free = asyncio.Semaphore(options.slots)
        self._next = 0
        self._ticker: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self._record = options.record.open("ab", buffering=0) if options.record else None

    async def start(self) -> str:
        """Listen on loopback; returns the URL."""
        app = web.Application(client_max_size=64 << 20, middlewares=[self._check_key])
        get, post = app.router.add_get, app.router.add_post
        post("/v1/chat/completions", self.chat)
        get("/v1/models", self.models)
        if not self.options.foreign:
            get("/health", self.health)
            get("/props", self.props)
            get("/slots", self.slots)
            post("/tokenize", self.tokenize)
            post("/apply-template", self.apply_template)
            post("/v1/chat/completions/input_tokens", self.input_tokens)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.options.port, backlog=1024)
        await site.start()
        port = self._runner.addresses[0][1]
        self._ticker = asyncio.create_task(self._tick())
        return f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        """Cut everything off."""
        if self._ticker is not None:
            self._ticker.cancel()
        for stream in list(self.streams.values()):
            stream.ended.set()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._record is not None:
            self._record.close()

    @web.middleware
    async def _check_key(self, request: web.Request, handler: Any) -> web.StreamResponse:
        key = self.options.api_key
        if key and request.path != "/health" and request.headers.get("Authorization") != f"Bearer {key}":
            return _error(401, "authentication_error", "Invalid API Key")
        response: web.StreamResponse = await handler(request)
        return response

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "stand-in", "object": "model"}]})

    async def props(self, request: web.Request) -> web.Response:
        options = self.options
        defaults = {"n_ctx": options.ctx_size}
        return web.json_response({"total_slots": options.slots, "default_generation_settings": defaults})

    async def slots(self, request: web.Request) -> web.Response:
        busy = list(self.streams.values())
        entries = []
        for index in range(self.options.slots):
            entry: dict[str, Any] = {"id": index, "n_ctx": self.options.ctx_size}
            entry["is_processing"] = index < len(busy)
            if index < len(busy):
                stream = busy[index]
                entry["id_task"] = stream.id
                # A hang stands still; all else has got on whenever it is asked, as in a working server.
                decoded = stream.made if stream.stuck else int(monotonic() * 1000)
                entry["next_token"] = [{"n_decoded": decoded}]
            entries.append(entry)
        return web.json_response(entries)

    async def tokenize(self, request: web.Request) -> web.Response:
        return web.json_response({"tokens": list(range(len((await request.json())["content"].split())))})

    async def apply_template(self, request: web.Request) -> web.Response:
        messages = (await request.json())["messages"]
        marks = " m" * MESSAGE_TOKENS
        return web.json_response({"prompt": " ".join(one["content"] + marks for one in messages)})

    async def input_tokens(self, request: web.Request) -> web.Response:
        return web.json_response({"input_tokens": count_tokens((await request.json())["messages"])})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.bodies.append(body)
        messages = body["messages"]
        prefix = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        prompt = messages[:-1] if prefix else messages
        tokens, limit = count_tokens(messages), self.options.ctx_size
        if tokens > limit:
            why = f"request ({tokens} tokens) exceeds the available context size ({limit} tokens)"
            return _error(400, "exceed_context_size_error", why, n_prompt_tokens=tokens, n_ctx=limit)
        words = dict(re.findall(r"!(\w+)(?:=([\d.]+))?", prompt[-1]["content"]))
        if "error" in words:
            return _error(500, "server_error", "asked for an error")
        async with self._free:
            return await self._reply(request, body, prompt, prefix, words)

    async def _reply(
        self, request: web.Request, body: dict[str, Any], prompt: Any, prefix: str, words: dict[str, str]
    ) -> web.StreamResponse:
        self._next += 1
        tokens = count_tokens(body["messages"])
        digest = _digest(prompt, int(body.get("seed") or 0))
        stream = Stream(self._next, web.StreamResponse(), digest, prompt=prompt[-1]["content"])
        done, stream.rest = _continue(digest, prefix)
        # A reply of `length` tokens in all, so that a continued one ends where the first would have.
        stream.want = min(int(body.get("max_tokens") or 1 << 30), max(0, self.options.length - done))
        stream.finish = "length" if body.get("max_tokens") == stream.want else "stop"
        stream.made = done
        stream.want += done
        stream.trick = next((word for word in TRICKS if word in words), "")
        stream.trick_at = done + int(words.get("after") or 3)
        self.streams[stream.id] = stream
        finish = "cut"
        try:
            stream.response.content_type = "text/event-stream"
            await stream.response.prepare(request)
            await self._read_prompt(stream, body, tokens, words)
            stream.begin = monotonic() + self.options.first_ms / 1000 - 1 / self.options.rate
            stream.begin -= done / self.options.rate
            stream.began = stream.begin
            await stream.ended.wait()
            finish = stream.finish
            if finish != "drop":
                await self._finish(stream, body, tokens, done)
            return stream.response
        finally:
            self.streams.pop(stream.id, None)
            self._note(stream, prefix, finish, done)

    async def _read_prompt(self, stream: Stream, body: dict[str, Any], tokens: int, words: dict[str, str]) -> None:
        seconds = float(words.get("slow") or words.get("quiet") or 0)
        steps = max(1, round(seconds / 0.05)) if "slow" in words else 1
        for step in range(steps + 1):
            if body.get("return_progress"):
                progress = {"total": tokens, "cache": 0, "processed": tokens * step // steps, "time_ms": 0}
                await stream.response.write(_event({"choices": [], "prompt_progress": progress}))
            if step < steps and seconds:
                await asyncio.sleep(seconds / steps)

    async def _finish(self, stream: Stream, body: dict[str, Any], tokens: int, done: int) -> None:
        made = stream.made - done
        rate = self.options.rate
        timings = {"prompt_ms": self.options.first_ms, "predicted_n": made}
        timings |= {"predicted_ms": made * 1000 / rate, "predicted_per_second": rate}
        last = _event({"choices": [{"finish_reason": stream.finish, "index": 0, "delta": {}}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": tokens, "completion_tokens": made, "total_tokens": tokens + made}
            last += _event({"choices": [], "usage": usage, "timings": timings})
        await stream.response.write(last + b"data: [DONE]\n\n")

    async def _tick(self) -> None:
        """Write what is due on every stream."""
        ping = monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = monotonic()
            pinging = now - ping > PING_SECONDS
            if pinging:
                ping = now
            for stream in list(self.streams.values()):
                if pinging:
                    await _write(stream, b": ping\n\n")
                if stream.begin and not stream.stuck:
                    await self._advance(stream, now)

    async def _advance(self, stream: Stream, now: float) -> None:
        due = min(stream.want, int((now - stream.begin) * self.options.rate))
        pieces: list[bytes] = []
        while stream.made < due:
            if stream.trick and stream.made >= stream.trick_at:
                await _write(stream, b"".join(pieces))
                await self._misbehave(stream)
                return
            text = stream.rest + _token(stream.digest, stream.made)
            stream.rest = ""
            stream.sent.append(text)
            stream.made += 1
            pieces += (HEAD, orjson.dumps(text), TAIL)
        if pieces:
            await _write(stream, b"".join(pieces))
        if stream.made >= stream.want:
            stream.begin = 0.0
            stream.ended.set()

    async def _misbehave(self, stream: Stream) -> None:
        stream.stuck = True
        match stream.trick:
            case "garbage":
                await _write(stream, b'data: {"choices": \xff\xfe nonsense\n\n')
            case "drop":
                stream.finish = "drop"
                stream.ended.set()
            case "oom":
                print(OUT_OF_MEMORY, flush=True)
                os.abort()
            case "crash":
                print("GGML_ASSERT(n_tokens > 0) failed", flush=True)
                os.kill(os.getpid(), signal.SIGSEGV)

    def _note(self, stream: Stream, prefix: str, finish: str, done: int) -> None:
        note = {
            "id": stream.id,
            "digest": stream.digest,
            "prefix": prefix,
            "text": "".join(stream.sent),
            "tokens": stream.made - done,
            "finish": finish,
            "prompt": stream.prompt,
            "begin": stream.began,
            "sizes": [len(piece) for piece in stream.sent],
        }
        self.made.append(note)
        if self._record is not None:
            self._record.write(orjson.dumps(note) + b"\n")


def _continue(digest: int, prefix: str) -> tuple[int, str]:
    """How many tokens of the reply `prefix` holds or begins, and the rest of the last; 0 for other text."""
    text, index = "", 0
    while len(text) < len(prefix):
        text += _token(digest, index)
        index += 1
    return (index, text[len(prefix) :]) if text.startswith(prefix) else (0, "")


async def _write(stream: Stream, data: bytes) -> None:
    try:
        await stream.response.write(data)
    except (ConnectionError, RuntimeError):
        stream.begin = 0.0
        stream.finish = "drop"
        stream.ended.set()


def _event(content: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\n\n"


def _error(status: int, kind: str, message: str, **more: Any) -> web.Response:
    error = {"code": status, "type": kind, "message": message, **more}
    return web.json_response({"error": error}, status=status)


def _parse(arguments: Sequence[str]) -> Options:
    """The stand-in's own options, and the llama-server options that a node gives."""
    parser = argparse.ArgumentParser(prog="tests.fakes.llama", allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=float, default=50.0, help="tokens a second of each stream")
    parser.add_argument("--first-ms", type=float, default=20.0, help="time to the first token")
    parser.add_argument("--slots", "--parallel", type=int, default=4)
    parser.add_argument("--ctx-size", type=int, default=8192, help="tokens per slot")
    parser.add_argument("--length", type=int, default=100, help="tokens of a reply without max_tokens")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--foreign", action="store_true")
    return Options(**vars(parser.parse_args(arguments)))


async def serve(options: Options, say: Callable[[str], object] = print) -> None:
    """Run until SIGTERM or SIGINT."""
    fake = LlamaFake(options)
    url = await fake.start()
    say(f"listening on {url}")
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await over.wait()
    await fake.stop()


if __name__ == "__main__":
    asyncio.run(serve(_parse(sys.argv[1:]), lambda line: print(line, flush=True)))
