"""The answers of the OpenAI-compatible API, whole and in chunks, in OpenAI's shapes."""

import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel

from app.web.openai_turn import End
from app.wire.states import Role


class Usage(BaseModel):
    """Tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Every error below `/v1`."""

    error: ErrorBody


class ModelAnswer(BaseModel):
    """One model that a node serves."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "meatlizard"


class ModelsAnswer(BaseModel):
    """The models that nodes serve right now."""

    object: Literal["list"] = "list"
    data: list[ModelAnswer]


class ReplyMessage(BaseModel):
    """The reply."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: str | None = None


class ChatChoice(BaseModel):
    """The one reply there is."""

    index: int
    message: ReplyMessage
    logprobs: None = None
    finish_reason: str


class ChatAnswer(BaseModel):
    """A whole reply."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class TextChoice(BaseModel):
    """The one text there is."""

    index: int
    text: str
    logprobs: None = None
    finish_reason: str


class CompletionAnswer(BaseModel):
    """A whole text."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


CANCELLED: Final = "stop"
"""OpenAI has no word for a reply that a person ended."""


@dataclass(frozen=True, slots=True)
class ChatShape:
    """`/v1/chat/completions`."""

    turn: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, kind: str) -> dict[str, Any]:
        """Return what stands in every answer and chunk."""
        return {"id": f"chatcmpl-{self.turn.replace('-', '')}", "object": kind, "created": self.created, "model": self.model}

    def whole(self, text: str, end: End) -> dict[str, Any]:
        """Return the answer to a request that did not ask for a stream."""
        message = {"role": Role.ASSISTANT.value, "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(end)}
        return self.head("chat.completion") | {"choices": [choice], "usage": usage(end)}

    def first(self) -> dict[str, Any] | None:
        """Return the chunk before any text."""
        return self._chunk({"role": Role.ASSISTANT.value, "content": ""}, None)

    def text(self, text: str) -> dict[str, Any]:
        """Return a chunk of the reply."""
        return self._chunk({"content": text}, None)

    def last(self, end: End) -> dict[str, Any]:
        """Return the chunk that says how the reply ended."""
        return self._chunk({}, finish_reason(end))

    def usage(self, end: End) -> dict[str, Any]:
        """Return the chunk that says what was used."""
        return self.head("chat.completion.chunk") | {"choices": [], "usage": usage(end)}

    def _chunk(self, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self.head("chat.completion.chunk") | {"choices": [choice]}


@dataclass(frozen=True, slots=True)
class TextShape:
    """`/v1/completions`."""

    turn: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self) -> dict[str, Any]:
        """Return what stands in every answer and chunk."""
        name = f"cmpl-{self.turn.replace('-', '')}"
        return {"id": name, "object": "text_completion", "created": self.created, "model": self.model}

    def whole(self, text: str, end: End) -> dict[str, Any]:
        """Return the answer to a request that did not ask for a stream."""
        return self._choice(text, finish_reason(end)) | {"usage": usage(end)}

    def first(self) -> dict[str, Any] | None:
        """Return nothing: a text has no chunk before its first."""
        return None

    def text(self, text: str) -> dict[str, Any]:
        """Return a chunk of the text."""
        return self._choice(text, None)

    def last(self, end: End) -> dict[str, Any]:
        """Return the chunk that says how the text ended."""
        return self._choice("", finish_reason(end))

    def usage(self, end: End) -> dict[str, Any]:
        """Return the chunk that says what was used."""
        return self.head() | {"choices": [], "usage": usage(end)}

    def _choice(self, text: str, reason: str | None) -> dict[str, Any]:
        return self.head() | {"choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}]}


Shape = ChatShape | TextShape


def finish_reason(end: End) -> str:
    """Return `length` where the reply was cut at its limit, else `stop`."""
    return "length" if end.finish_reason == "length" else CANCELLED


def usage(end: End) -> dict[str, int]:
    """Return the counts by OpenAI's names."""
    read, written = end.prompt_tokens, end.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
