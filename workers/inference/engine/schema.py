"""JSON schemas from users, bounded: llama.cpp compiles them into grammars, and a few bytes can keep it busy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.inference.engine.choices import MOST, ways
from workers.inference.engine.errors import BadParameter

DEPTH = 16
#: Objects, lists and values in the whole schema.
NODES = 1000
TEXT_CHARS = 1000
#: Each repetition is written out in the grammar.
REPETITIONS = 500
_REPEATING = frozenset(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"))


def check_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `schema`, or raise BadParameter saying what is too much in it."""
    left = NODES
    pending: list[tuple[Any, int]] = [(schema, 0)]
    while pending:
        node, depth = pending.pop()
        left -= 1
        if left < 0 or depth > DEPTH:
            raise BadParameter("response_format", f"has a schema of over {NODES} parts or {DEPTH} levels")
        if isinstance(node, Mapping):
            for key, value in node.items():
                _check_entry(key, value)
                pending.append((value, depth + 1))
        elif isinstance(node, list):
            pending.extend((one, depth + 1) for one in node)
        elif isinstance(node, str) and len(node) > TEXT_CHARS:
            raise BadParameter("response_format", f"has a text of over {TEXT_CHARS} characters in its schema")
    if ways(schema) > MOST:
        raise BadParameter("response_format", "has a schema with too many alternatives that begin alike, or bounds of numbers")
    return schema


def _check_entry(key: Any, value: Any) -> None:
    if not isinstance(key, str) or len(key) > TEXT_CHARS:
        raise BadParameter("response_format", f"has a name of over {TEXT_CHARS} characters in its schema")
    if key == "$ref" and not (isinstance(value, str) and value.startswith("#")):
        raise BadParameter("response_format", "may refer only to parts of its own schema ($ref: #/...)")
    if key == "pattern" and isinstance(value, str):
        raise BadParameter("response_format", "may not use pattern")
    if key in _REPEATING and isinstance(value, int | float) and value > REPETITIONS:
        raise BadParameter("response_format", f"may ask for at most {REPETITIONS} in {key}")
