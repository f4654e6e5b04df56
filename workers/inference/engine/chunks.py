"""What a reply consists of, and how llama.cpp's events become it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from workers.inference.engine.errors import EngineError, EngineRefused, PromptTooLong
from workers.inference.engine.text import clean

DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Progress:
    """The prompt is being read: tokens of it that are done, out of all."""

    processed: int
    total: int


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the reply, never empty."""

    text: str
    #: How many it took, as far as the server's events tell; its own count comes with the end.
    tokens: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts in tokens, times in milliseconds; zero where the server does not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: int = 0
    prompt_ms: float = 0.0
    predicted_ms: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class End:
    """The reply is whole; `finish_reason` is "stop" or "length"."""

    finish_reason: str
    usage: Usage


Chunk = Progress | Text | End


class ChunkReader:
    """Turns the payloads of one reply's events into chunks."""

    def __init__(self) -> None:
        self.finish_reason = ""
        self.done = False
        #: Whether the model has begun to write, be it thoughts that are not shown.
        self.writing = False
        self._usage: dict[str, Any] = {}
        self._timings: dict[str, Any] = {}

    def take(self, payloads: Sequence[bytes]) -> list[Chunk]:
        """The chunks in `payloads`; text that came together stays together."""
        chunks: list[Chunk] = []
        pieces: list[str] = []
        tokens = 0
        for payload in payloads:
            if payload == DONE:
                self.done = True
                break
            event = _parse(payload)
            if progress := event.get("prompt_progress"):
                chunks.append(Progress(int(progress["processed"]), int(progress["total"])))
            if choices := event.get("choices"):
                choice = choices[0]
                delta = choice.get("delta") or {}
                if content := delta.get("content"):
                    pieces.append(content)
                    tokens += 1
                    self.writing = True
                elif delta.get("reasoning_content"):
                    self.writing = True
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
            self._usage = event.get("usage") or self._usage
            self._timings = event.get("timings") or self._timings
        if pieces:
            chunks.append(Text("".join(pieces), tokens))
        return chunks

    def end(self) -> End:
        """The last chunk, from all the figures that came."""
        usage, timings = self._usage, self._timings
        details = usage.get("prompt_tokens_details") or {}
        return End(
            self.finish_reason or "stop",
            Usage(
                prompt_tokens=usage.get("prompt_tokens", 0),
                completion_tokens=usage.get("completion_tokens", 0),
                cached=details.get("cached_tokens") or timings.get("cache_n", 0),
                prompt_ms=timings.get("prompt_ms", 0.0),
                predicted_ms=timings.get("predicted_ms", 0.0),
                tokens_per_second=timings.get("predicted_per_second", 0.0),
            ),
        )


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(payload)
    except orjson.JSONDecodeError:
        event = _parse_leniently(payload)
    if not isinstance(event, dict):
        raise EngineRefused(502, "an event of the reply is not a JSON object")
    if (error := event.get("error")) or ("message" in event and "choices" not in event):
        raise refusal(500, {"error": error or event})
    return event


def _parse_leniently(payload: bytes) -> Any:
    """Other servers send bytes cut inside a character, or half an emoji as a lone surrogate."""
    try:
        event = json.loads(payload.decode("utf-8", "replace"))
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            if isinstance(delta.get("content"), str):
                delta["content"] = clean(delta["content"])
        return event
    except (ValueError, AttributeError):
        raise EngineRefused(502, "an event of the reply is not JSON") from None


def refusal(status: int, body: Any) -> EngineError:
    """The server's own error as ours."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return EngineRefused(status, "no reason given", str(error or ""))
    if error.get("type") == "exceed_context_size_error":
        return PromptTooLong(int(error.get("n_prompt_tokens", 0)), int(error.get("n_ctx", 0)))
    code = error.get("code")
    kind = str(error.get("type") or "error").replace("_", " ")
    return EngineRefused(code if isinstance(code, int) else status, kind, str(error.get("message", "")))
