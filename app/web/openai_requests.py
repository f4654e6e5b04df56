"""What a program may ask of the OpenAI-compatible API: what is carried out, what is passed over, what is refused."""

from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from app.services.conversations import Said
from app.web.openai_errors import BadField
from app.wire.states import Role

TEXT_LENGTH: Final = 1_000_000
"""Characters of a message that are looked at at all; the real limit is a setting, and its error names it."""
MESSAGES: Final = 2000
STOP_TEXTS: Final = 4
STOP_LENGTH: Final = 100
"""OpenAI's limits; llama.cpp compares every token with every stop text."""
MOST_TOKENS: Final = 32_768
SPARE_LEVELS: Final = 128
"""Of the 254 that are written at all: a schema is deep inside of what goes to the node."""

Stop = Annotated[str, Field(min_length=1, max_length=STOP_LENGTH)]


class _Given(BaseModel):
    # Fields that nobody here knows are passed over, as OpenAI's own servers and llama.cpp do: clients send many.
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class TextPart(_Given):
    """A piece of a message."""

    type: str = Field(max_length=64)
    text: str | None = Field(None, max_length=TEXT_LENGTH)


class ChatMessage(_Given):
    """One message of the conversation."""

    role: str = Field(max_length=64, examples=["user"])
    content: Annotated[str, Field(max_length=TEXT_LENGTH)] | Annotated[list[TextPart], Field(max_length=1000)] | None = None
    tool_calls: list[Any] | None = None


class StreamOptions(_Given):
    """What a streamed answer shall carry beside its text."""

    include_usage: bool | None = None


class JsonSchema(_Given):
    """The schema that an answer in JSON shall follow."""

    name: str | None = Field(None, max_length=64)
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(_Given):
    """Which form the reply shall have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class _Asked(_Given):
    """What both kinds of request have."""

    model: str = Field(max_length=256, examples=["default"])
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    stop: Stop | Annotated[list[Stop], Field(max_length=STOP_TEXTS)] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    n: int | None = Field(None, ge=1, le=128)
    logit_bias: dict[str, Any] | None = None
    # llama.cpp's own, which other servers take beside OpenAI's.
    top_k: int | None = Field(None, ge=0, le=1000)
    min_p: float | None = Field(None, ge=0, le=1)
    repeat_penalty: float | None = Field(None, ge=0.5, le=2)

    @property
    def with_usage(self) -> bool:
        """Whether the last chunk shall tell what was used."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> dict[str, Any]:
        """Return what goes to the engine, by the names it goes under."""
        wanted = self.model_dump(
            include={"temperature", "top_p", "presence_penalty", "frequency_penalty", "top_k", "min_p", "repeat_penalty"},
            exclude_none=True,
        )
        if self.seed is not None:
            wanted["seed"] = self.seed % (2**32 - 1)  # llama.cpp keeps 32 bits and takes the highest value for "any".
        if self.stop:
            wanted["stop"] = [self.stop] if isinstance(self.stop, str) else list(self.stop)
        if (most := self.most_tokens()) is not None:
            wanted["max_tokens"] = min(most, MOST_TOKENS)
        return wanted

    def most_tokens(self) -> int | None:
        """Return the most tokens the reply may have."""
        return self.max_tokens

    def _refuse(self, *fields: str) -> None:
        if self.n is not None and self.n > 1:
            raise BadField("n", "One reply a request is what there is: leave out n, or ask again.")
        for name in ("logit_bias", *fields):
            if getattr(self, name):
                raise BadField(name, f"{name} is not carried out here: leave it out.", "unsupported_parameter")


class ChatRequest(_Asked):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1)
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    audio: dict[str, Any] | None = None
    modalities: list[str] | None = None

    def most_tokens(self) -> int | None:
        """Return the most tokens the reply may have."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def check(self) -> None:
        """Raise BadField for what would be answered otherwise than it was meant."""
        self._refuse("logprobs", "top_logprobs", "tools", "functions", "audio")
        if set(self.modalities or ()) - {"text"}:
            raise BadField("modalities", "Text is all that is written here.", "unsupported_parameter")
        if self.response_format and self.response_format.type == "json_schema":
            wanted = self.response_format.json_schema
            if wanted is None or wanted.schema_ is None:
                raise BadField("response_format", "A response_format of type json_schema needs a json_schema.schema.")
            _check_sendable(wanted.schema_)

    def sampling(self) -> dict[str, Any]:
        """Return what goes to the engine, by the names it goes under."""
        wanted = super().sampling()
        match self.response_format:
            case ResponseFormat(type="json_object"):
                wanted["response_format"] = {"type": "json_object"}
            case ResponseFormat(type="json_schema", json_schema=JsonSchema(schema_=dict(schema))):
                wanted["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
        return wanted

    def conversation(self) -> tuple[list[Said], str]:
        """Return what was said before, and the prompt."""
        said = [_said(message, index) for index, message in enumerate(self.messages)]
        if said[-1].role is not Role.USER:
            raise BadField("messages", "The last message must be the user's: it is the one that is answered.")
        return said[:-1], said[-1].text


class CompletionRequest(_Asked):
    """`POST /v1/completions`."""

    prompt: Annotated[str, Field(max_length=TEXT_LENGTH)] | Annotated[list[Any], Field(max_length=TEXT_LENGTH)]
    suffix: str | None = None
    echo: bool | None = None
    logprobs: int | None = None
    best_of: int | None = None

    def check(self) -> None:
        """Raise BadField for what would be answered otherwise than it was meant."""
        self._refuse("suffix", "echo", "logprobs")
        if (self.best_of or 1) > 1:
            raise BadField("best_of", "One reply a request is what there is: leave out best_of.")

    def conversation(self) -> tuple[list[Said], str]:
        """Return nothing that was said before, and the prompt."""
        match self.prompt:
            case str(text) | [str(text)]:
                return [], text
        raise BadField("prompt", "The prompt is one text: lists of several and of tokens are not taken.")


def _check_sendable(schema: Any) -> None:
    """Raise BadField for what can be read as JSON and not written: long numbers, half characters, hundreds of levels."""
    for _ in range(SPARE_LEVELS):
        schema = [schema]
    try:
        orjson.dumps(schema)
    except orjson.JSONEncodeError:
        raise BadField("response_format", "This schema holds what cannot be sent on: see its numbers, texts and levels.") from None


def _said(message: ChatMessage, index: int) -> Said:
    place = f"messages.{index}"
    roles = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
    role = roles.get(message.role)
    if role is None or message.tool_calls:
        raise BadField(place, "Messages are the system's, the user's and the assistant's; tools are not called here.")
    if message.content is None or isinstance(message.content, str):
        return Said(role, message.content or "")
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise BadField(place, "Parts of a message are text here: send no images, sound or files.", "unsupported_content")
    return Said(role, "\n".join(part.text or "" for part in message.content))
