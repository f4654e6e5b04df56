"""What the engines themselves say they made: a recorder before each llama.cpp, and the reading of what it wrote.

    python -m tests.faults.engines --journal FILE --kind real|paced -- LLAMA-SERVER-OPTIONS

Every piece of text is in the journal before it is passed on, so a kill at any moment loses nothing that anybody saw.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from app.local.program import GUARD
from workers.inference import engine

REPOSITORY: Final = Path(__file__).resolve().parents[2]
REAL: Final = Path(engine.__file__).parent / "host.py"
CHAT: Final = "/v1/chat/completions"
RATE: Final = 60.0
"""Tokens a second of each stream of the stand-in."""
HEADERS: Final = ("Content-Type", "Authorization")


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an engine: what it was to carry on, and what it made."""

    node: str
    prompt: str
    prefix: str
    text: str
    finish: str
    """`stop` or `length` where it came to its end, else empty."""

    @property
    def whole(self) -> str:
        return self.prefix + self.text


def read(folder: Path) -> dict[str, list[Call]]:
    """Return every call of every engine, by the words of the prompt."""
    found: dict[str, list[Call]] = defaultdict(list)
    for file in sorted(folder.glob("*.jsonl")):
        for call in _calls(file):
            found[call.prompt].append(call)
    return found


def _calls(file: Path) -> Iterator[Call]:
    begun: dict[str, dict[str, Any]] = {}
    for line in file.read_bytes().splitlines():
        try:
            note = json.loads(line)
        except ValueError:  # The last line of one that was killed while it wrote.
            continue
        call = begun.setdefault(note["call"], {"text": "", "finish": ""})
        call["text"] += note.pop("text", "")
        call |= note
    for call in begun.values():
        yield Call(file.stem, call["prompt"], call["prefix"], call["text"], call["finish"])


def program(folder: Path, node: str, kind: str) -> Path:
    """Write the program that a node starts as its llama-server."""
    path = folder / f"engine-{node}"
    words = [sys.executable, "-m", "tests.faults.engines", "--journal", str(folder / f"{node}.jsonl"), "--kind", kind]
    quoted = " ".join(f"'{word}'" for word in words)
    # What the stand-in has of the options that builds differ in.
    known = '[ "$1" = --help ] && echo "--metrics --slots --offline" && exit'
    path.write_text(f'#!/bin/sh\n{known}\ncd "{REPOSITORY}" && unset PYTHONPATH && exec {quoted} -- "$@"\n')
    path.chmod(0o700)
    return path


class Recorder:
    """Stands before one engine and writes down what passes."""

    def __init__(self, journal: Path, port: int) -> None:
        self._journal = journal.open("ab", buffering=0)
        self._engine = f"http://127.0.0.1:{port}"
        self._calls = 0
        self._session: ClientSession | None = None

    async def start(self, port: int) -> None:
        """Listen where the node expects its llama.cpp."""
        self._session = ClientSession(auto_decompress=False, timeout=ClientTimeout(total=None))
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        note = self._begin(json.loads(body)) if request.path == CHAT else None
        headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
        assert self._session is not None
        try:
            asked = self._session.request(request.method, self._engine + request.path_qs, data=body, headers=headers)
            async with asked as answer:
                told = web.StreamResponse(status=answer.status)
                told.content_type = answer.content_type
                await told.prepare(request)
                rest = b""
                async for data in answer.content.iter_any():
                    if note and answer.status == 200:
                        rest = self._note(note, rest + data)
                    await told.write(data)
                return told
        except ClientError:
            # It ended or has not begun: as a connection that breaks, not as an answer.
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPBadGateway from None

    def _begin(self, body: dict[str, Any]) -> str:
        messages = body["messages"]
        prefix = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        prompt = next(one["content"] for one in reversed(messages) if one["role"] == "user")
        self._calls += 1
        call = f"{os.getpid()}.{self._calls}"
        self._write(call=call, prompt=prompt, prefix=prefix)
        return call

    def _note(self, call: str, data: bytes) -> bytes:
        *lines, rest = data.split(b"\n")
        text, finish = "", ""
        for line in lines:
            if not line.startswith(b"data: {"):
                continue
            try:
                choices = json.loads(line[6:]).get("choices") or [{}]
            except ValueError:
                continue
            text += (choices[0].get("delta") or {}).get("content") or ""
            finish = choices[0].get("finish_reason") or finish
        if text or finish:
            self._write(call=call, text=text, **({"finish": finish} if finish else {}))
        return rest

    def _write(self, **note: str) -> None:
        self._journal.write(json.dumps(note).encode() + b"\n")


def _engine(kind: str, options: Sequence[str], port: int) -> list[str]:
    """The command of the engine itself, on a port of its own."""
    if kind == "real":
        words = list(options)
        words[words.index("--port") + 1] = str(port)
        return [sys.executable, "-P", str(REAL), *words]
    parser = argparse.ArgumentParser()
    parser.add_argument("--api-key-file", type=Path)
    parser.add_argument("--parallel", type=int, default=4)
    known, _ = parser.parse_known_args(options)
    key = known.api_key_file.read_text().strip()
    words = ["--port", str(port), "--slots", str(known.parallel), "--api-key", key, "--rate", str(RATE), "--length", "90"]
    return [sys.executable, "-m", "tests.fakes.llama", *words]


async def _run(journal: Path, kind: str, options: Sequence[str]) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*GUARD, "--death", "KILL", "--", *_engine(kind, options, port)]
    child = await asyncio.create_subprocess_exec(*command, env=os.environ | {"MEATLIZARD_GUARD": str(os.getpid())})
    await Recorder(journal, port).start(int(options[list(options).index("--port") + 1]))
    return await child.wait()


def main() -> None:
    """Run the engine and its recorder, and end as the engine ends."""
    own, options = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    parser = argparse.ArgumentParser()
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--kind", choices=("real", "paced"), required=True)
    given = parser.parse_args(own)
    status = asyncio.run(_run(given.journal, given.kind, options))
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
