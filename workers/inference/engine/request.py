"""What may be asked of the engine: messages, the text so far, and sampling parameters from a short list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict

from workers.inference.engine.errors import BadParameter
from workers.inference.engine.schema import check_schema
from workers.inference.engine.text import clean

ROLES = frozenset(("system", "user", "assistant"))
DEFAULT_MAX_TOKENS = 1024
#: OpenAI's limits; llama.cpp compares every token with every stop text.
STOP_TEXTS = 4
STOP_CHARS = 100
#: A reply is given up after this long, however alive the server is: 32,768 tokens at 18 a second.
DEADLINE_SECONDS = 1800.0
#: Allowed values, both ends included.
RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "repeat_penalty": (0.5, 2.0),
    "top_k": (0, 1000),
    "max_tokens": (1, 32_768),
    # llama.cpp keeps 32 bits and takes the highest value for "any".
    "seed": (0, 2**32 - 2),
}
WHOLE = frozenset(("top_k", "max_tokens", "seed"))
#: The ones that are llama.cpp's own; other servers may refuse a request that has them.
LLAMA_ONLY = frozenset(("top_k", "min_p", "repeat_penalty"))


class Message(TypedDict):
    """One message of the conversation, as the chat API has it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """The allow-list. Nothing a user sends reaches the server except through these fields."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    response_format: Mapping[str, Any] | None = None

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Sampling:
        """Check `given`; None means "not set". BadParameter names the parameter and its rule."""
        checked: dict[str, Any] = {}
        names = {one.name for one in fields(cls)}
        for name, value in given.items():
            if name not in names:
                raise BadParameter(name, "is not a parameter this server takes")
            if value is None:
                continue
            match name:
                case "stop":
                    checked[name] = _stop(value)
                case "response_format":
                    checked[name] = _response_format(value)
                case _:
                    checked[name] = _number(name, value)
        return cls(**checked)

    def payload(self, *, llama: bool) -> dict[str, Any]:
        """These fields in a request body; max_tokens always among them (the server's default is endless)."""
        body: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value is None or value == () or (one.name in LLAMA_ONLY and not llama):
                continue
            body[one.name] = list(value) if one.name == "stop" else value
        return body


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One reply to make. `prefix` is the text of it that is there already: only what follows comes back."""

    messages: Sequence[Message]
    sampling: Sampling = field(default_factory=Sampling)
    prefix: str = ""
    deadline_seconds: float = DEADLINE_SECONDS

    def prompt(self) -> list[Message]:
        """The messages as sent: clean, alternating as chat templates demand, the text so far at the end."""
        prompt: list[Message] = []
        for message in self.messages:
            role, content = message["role"], clean(message["content"])
            if role not in ROLES:
                raise BadParameter("role", "must be system, user or assistant")
            if prompt and prompt[-1]["role"] == role:
                # Left by a turn without a reply; many templates refuse two user messages in a row.
                prompt[-1]["content"] += "\n\n" + content
            else:
                prompt.append({"role": role, "content": content})
        if not prompt or prompt[-1]["role"] != "user":
            raise BadParameter("messages", "must end with a user's message")
        if prefix := clean(self.prefix):
            # An empty one would leave out the template's cue for the assistant to speak.
            prompt.append({"role": "assistant", "content": prefix})
        return prompt


def _number(name: str, value: Any) -> float:
    low, high = RANGES[name]
    kind = "whole number" if name in WHOLE else "number"
    rule = f"must be a {kind} from {low:.10g} to {high:.10g}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadParameter(name, rule)
    if not low <= value <= high or (name in WHOLE and value != int(value)):
        raise BadParameter(name, rule)
    return int(value) if name in WHOLE else float(value)


def _stop(value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value
    rule = f"must be one to {STOP_TEXTS} texts of at most {STOP_CHARS} characters"
    if not isinstance(texts, list | tuple) or len(texts) > STOP_TEXTS:
        raise BadParameter("stop", rule)
    if not all(isinstance(text, str) and 0 < len(text) <= STOP_CHARS for text in texts):
        raise BadParameter("stop", rule)
    return tuple(clean(text) for text in texts)


def _response_format(value: Any) -> Mapping[str, Any] | None:
    match value:
        case {"type": "text"}:
            return None
        case {"type": "json_object", **rest} if not rest:
            return {"type": "json_object"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"type": "json_schema", "json_schema": {"schema": check_schema(schema)}}
    raise BadParameter("response_format", 'must be {"type": "json_object"} or a json_schema with a "schema"')
