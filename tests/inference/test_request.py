"""The allow-list: what may be asked for, and that nothing else gets through."""

from __future__ import annotations

from typing import Any

import pytest

from workers.inference.engine import BadParameter, GenerateRequest, Message, Sampling

SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0), ("temperature", 2.0), ("top_p", 0.5), ("top_k", 40), ("min_p", 0.1), ("seed", 7),
        ("max_tokens", 1), ("presence_penalty", -2), ("frequency_penalty", 2), ("repeat_penalty", 1.1),
    ],
)  # fmt: skip
def test_allowed_values_reach_the_server(name: str, value: float) -> None:
    assert Sampling.from_dict({name: value}).payload(llama=True)[name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 2.1), ("temperature", float("nan")), ("temperature", "hot"), ("temperature", True),
        ("top_p", -0.1), ("top_k", 1.5), ("seed", -1), ("seed", 2**32 - 1), ("max_tokens", 0), ("max_tokens", -1),
        ("max_tokens", 10**9), ("repeat_penalty", 0), ("stop", [""]), ("stop", ["a"] * 5), ("stop", [3]),
        ("stop", "x" * 101), ("stop", {"a": 1}), ("n_discard", 5), ("id_slot", 0), ("grammar", "root ::= x"),
        ("cache_prompt", False), ("messages", []), ("stream", False), ("logit_bias", {}), ("n_predict", -1),
        ("response_format", "json"), ("response_format", {"type": "grammar"}),
        ("response_format", {"type": "json_object", "schema": {}}), ("response_format", {"type": "json_schema"}),
    ],
)  # fmt: skip
def test_everything_else_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(BadParameter) as caught:
        Sampling.from_dict({name: value})
    assert caught.value.name == name
    assert str(caught.value).startswith(name)


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def lists(of: dict[str, Any], least: int) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": least}


def ambiguous(depth: int) -> dict[str, Any]:
    """Three ways to begin a list, of lists with three ways to begin."""
    parts: dict[str, Any] = {str(depth): {"type": "string"}}
    for level in range(depth):
        parts[str(level)] = {"anyOf": [lists({"$ref": f"#/$defs/{level + 1}"}, least) for least in (1, 2, 3)]}
    return {"$ref": "#/$defs/0", "$defs": parts}


@pytest.mark.parametrize(
    "schema",
    [
        nested(30),
        {"enum": [str(number) for number in range(2000)]},
        {"$ref": "https://example.org/schema"},
        {"type": "string", "pattern": "(a+)+$"},
        {"type": "array", "maxItems": 100_000},
        {"type": "array", "minItems": 1e9},
        {"const": "x" * 5000},
        ambiguous(9),
        {"$ref": "#/$defs/0", "$defs": {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(200)}},
        {"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [lists({"$ref": "#/$defs/n"}, 1), lists({"$ref": "#/$defs/n"}, 2)]}}},
        {"anyOf": [{"type": "integer", "minimum": 10**16 + number} for number in range(30)]},
        {"anyOf": [{"$ref": "#/$defs/a"}] * 100, "$defs": {"a": {"enum": [str(number) for number in range(20)]}}},
    ],
)
def test_a_schema_that_would_keep_the_server_busy_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(BadParameter, match="response_format"):
        Sampling.from_dict({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}})


def _term(op: str) -> dict[str, Any]:
    sides = {"left": {"$ref": "#/$defs/term"}, "right": {"$ref": "#/$defs/term"}}
    return {"type": "object", "properties": {"op": {"const": op}, **sides}, "required": ["op", "left", "right"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [f"{number} apples" for number in range(900)]},
        {"type": "array", "items": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}},
        {"type": "object", "properties": {str(n): {"type": "integer", "minimum": 1, "maximum": 5} for n in range(80)}},
        {"$ref": "#/$defs/term", "$defs": {"term": {"anyOf": [_term("+"), _term("*"), {"type": "number"}]}}},
        {"type": "object", "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}},
        {"anyOf": [{"$ref": "#"}]},
        {"$ref": "#"},
        ambiguous(4),
        {
            "anyOf": [lists({"$ref": "#/$defs/tree"}, least) for least in (1, 2)],
            "$defs": {"tree": {"type": "object", "properties": {"below": lists({"$ref": "#/$defs/tree"}, 0)}}},
        },
    ],
)
def test_a_schema_that_people_use_is_taken(schema: dict[str, Any]) -> None:
    assert Sampling.from_dict({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}).response_format


def test_of_a_schema_only_the_schema_is_sent() -> None:
    sent = Sampling.from_dict({"response_format": SCHEMA}).payload(llama=True)["response_format"]
    assert sent == {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}


def test_max_tokens_is_always_sent_and_llamas_own_only_to_llama() -> None:
    assert Sampling().payload(llama=True) == {"max_tokens": 1024}
    both = Sampling.from_dict({"top_k": 4, "min_p": 0.1, "repeat_penalty": 1.1, "temperature": None, "stop": "x"})
    assert both.payload(llama=False) == {"max_tokens": 1024, "stop": ["x"]}


def test_a_prompt_alternates_is_clean_and_ends_with_the_text_so_far() -> None:
    messages: list[Message] = [
        {"role": "user", "content": "no reply\ud800 to this"},
        {"role": "user", "content": "\ud83d\ude00\0"},
    ]
    prompt = GenerateRequest(messages, prefix="Well,").prompt()
    assert prompt == [
        {"role": "user", "content": "no reply\ufffd to this\n\n😀"},
        {"role": "assistant", "content": "Well,"},
    ]
    assert messages[0]["content"].startswith("no reply\ud800")


@pytest.mark.parametrize("messages", [[], [{"role": "assistant", "content": "x"}], [{"role": "tool", "content": "x"}]])
def test_a_prompt_without_a_question_is_refused(messages: list[Message]) -> None:
    with pytest.raises(BadParameter):
        GenerateRequest(messages).prompt()
