"""What a page may say on the chat socket, checked to the letter, and what it hears when a prompt is kept."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.services.turns import Accepted
from app.wire.errors import BadInput

TEXT_LENGTH: Final = 4_000_000
"""Characters of a prompt that are looked at at all; the real limit is a setting, and its error names it."""

Identity = Annotated[str, Field(min_length=32, max_length=36)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Sampling(_Strict):
    """How freely the model shall pick its words: figures only, since they lie in PostgreSQL as they are."""

    model_config = ConfigDict(extra="forbid")

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=1000)
    min_p: float | None = Field(default=None, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1, le=32_768)
    seed: int | None = Field(default=None, ge=0, le=2**32 - 2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repeat_penalty: float | None = Field(default=None, ge=0.5, le=2)


class Prompt(_Strict):
    """A new prompt, below a reply or at the root; `id` makes sending it twice harmless."""

    type: Literal["prompt"]
    id: Identity
    text: str = Field(max_length=TEXT_LENGTH)
    parent: Identity | None = None
    sampling: Sampling = Sampling()


class Retry(_Strict):
    """Answer the prompt of `turn` once more."""

    type: Literal["retry"]
    id: Identity
    turn: Identity


class Stop(_Strict):
    """End a turn."""

    type: Literal["stop"]
    turn: Identity


class Resume(_Strict):
    """Send a turn's events again, as far as the page lacks them: it shows `at` bytes of the reply."""

    type: Literal["resume"]
    turn: Identity
    at: int = Field(0, ge=0, le=1 << 40)


class Shown(_Strict):
    """Say when a turn was sent, accepted, first seen and seen whole, in milliseconds since 1970 of the page's own clock."""

    type: Literal["shown"]
    turn: Identity
    sent: float
    accepted: float
    painted: float | None = None
    shown: float


class Ping(_Strict):
    """Ask whether anyone is there."""

    type: Literal["ping"]


Message = Prompt | Retry | Stop | Resume | Shown | Ping
_ADAPTER: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def parse(text: str | None) -> Message:
    """Read one frame; raise BadInput saying what is wrong with it."""
    if text is None:
        raise BadInput("Binary frames are not understood here: send JSON as text.")
    try:
        return _ADAPTER.validate_json(text.encode("utf-8", "surrogatepass"))
    except (ValidationError, UnicodeError) as error:
        if isinstance(error, UnicodeError):
            raise BadInput("This message is not valid text.") from error
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the message"
        raise BadInput(f"This message was not understood: {place}: {first['msg']}.") from error


def accepted(turn: Accepted, html: str, identity: str) -> dict[str, Any]:
    """Return what every page of a session hears when a prompt is kept; `html` is its text as the page shows it."""
    return {
        "event": "accepted",
        "id": identity,
        "turn": turn.turn,
        "message": turn.message,
        "parent": turn.parent,
        "text": turn.text,
        "html": html,
        "title": turn.title,
    }
