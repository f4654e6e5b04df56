"""What a reply shall be like: figures lie in PostgreSQL as they are, what is written out in words is sealed."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import orjson

from app.core import keys
from app.core.models import Turn

WORDS: Final = ("stop", "response_format")
"""Wishes that a person writes out: stop texts, and the schema of an answer in JSON."""


def split(session: UUID, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a turn that hold its wishes."""
    words = {name: value for name, value in sampling.items() if name in WORDS}
    return {
        "sampling": {name: value for name, value in sampling.items() if name not in WORDS},
        "form": keys.rest(str(session)).seal(orjson.dumps(words)) if words else None,
    }


def of(turn: Turn) -> dict[str, Any]:
    """Return a turn's wishes as they were given."""
    return opened(turn.session_id, turn.sampling, turn.form)


def opened(session: UUID, sampling: Mapping[str, Any], form: bytes | None) -> dict[str, Any]:
    """Do the same with the columns."""
    words: dict[str, Any] = orjson.loads(keys.rest(str(session)).open(bytes(form))) if form else {}
    return {**sampling, **words}
