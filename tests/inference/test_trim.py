"""What is left out of a conversation that is too long, with a tokenizer that counts words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.inference.engine import GenerateRequest, Message, PromptTooLong, Sampling
from workers.inference.engine.trim import LEAST_REPLY_TOKENS, STEP_TURNS, Trimmer

CTX_SIZE = 400


class Words:
    """Counts words, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, messages: Sequence[Message]) -> int | None:
        self.asked += 1
        return words(messages)


def words(messages: Sequence[Message]) -> int:
    return sum(len(message["content"].split()) for message in messages)


def talk(turns: int, each: int = 10, system: bool = True) -> list[Message]:
    messages: list[Message] = [{"role": "system", "content": "Be brief."}] if system else []
    for number in range(turns):
        messages.append({"role": "user", "content": f"question{number} " + "word " * each})
        messages.append({"role": "assistant", "content": f"answer{number} " + "word " * each})
    return [*messages, {"role": "user", "content": "the last question"}]


def request(messages: list[Message], prefix: str = "", max_tokens: int = 50) -> GenerateRequest:
    return GenerateRequest(messages, Sampling(max_tokens=max_tokens), prefix)


async def test_what_certainly_fits_asks_nobody() -> None:
    count = Words()
    fitted = await Trimmer(CTX_SIZE, count, template_tokens=8).fit(request(talk(2, 1)))
    assert count.asked == 0
    assert fitted.left_out == 0


async def test_what_fits_in_tokens_is_asked_for_once() -> None:
    count = Words()
    fitted = await Trimmer(CTX_SIZE, count).fit(request(talk(10)))
    assert count.asked == 1
    assert fitted.left_out == 0


async def test_a_long_session_is_searched_not_walked() -> None:
    count = Words()
    messages = talk(1000)
    fitted = await Trimmer(CTX_SIZE, count).fit(request(messages))
    kept = fitted.request.messages
    assert count.asked <= 9
    assert kept[0] == messages[0]
    assert kept[-1] == messages[-1]
    assert kept[1]["role"] == "user"
    assert len(kept) + fitted.left_out == len(messages)
    assert len(kept) > 10


async def test_the_prompt_begins_the_same_for_several_turns() -> None:
    """Else llama.cpp would find nothing of it in its cache."""
    starts = []
    for turns in range(40, 40 + 3 * STEP_TURNS):
        fitted = await Trimmer(CTX_SIZE, Words()).fit(request(talk(turns)))
        starts.append(fitted.request.messages[1]["content"].split()[0])
    assert len(set(starts)) <= 4


async def test_the_text_so_far_counts_and_stays() -> None:
    prefix = "so far " * 60
    fitted = await Trimmer(CTX_SIZE, Words()).fit(request(talk(14), prefix))
    assert fitted.left_out > 0
    assert fitted.request.prefix == prefix
    assert fitted.request.messages[-1]["role"] == "user"
    assert words(fitted.request.prompt()) <= CTX_SIZE - 50


async def test_a_last_message_that_cannot_fit_is_refused_with_figures() -> None:
    messages = [*talk(3)[:-1], Message(role="user", content="word " * 390)]
    with pytest.raises(PromptTooLong, match=f"392 tokens, with room for {CTX_SIZE - LEAST_REPLY_TOKENS}"):
        await Trimmer(CTX_SIZE, Words()).fit(request(messages))


async def test_a_last_message_may_use_the_room_of_the_reply() -> None:
    messages = [*talk(3)[:-1], Message(role="user", content="word " * 340)]
    fitted = await Trimmer(CTX_SIZE, Words()).fit(request(messages, max_tokens=1000))
    assert fitted.left_out == 6


async def test_without_a_tokenizer_bytes_are_counted() -> None:
    async def nobody(messages: Sequence[Message]) -> int | None:
        return None

    fitted = await Trimmer(1000, nobody).fit(request(talk(100)))
    kept = fitted.request.messages
    assert fitted.left_out > 0
    assert sum(len(message["content"]) for message in kept) / 3 < 1000


@given(
    sizes=st.lists(st.integers(1, 60), max_size=30),
    system=st.booleans(),
    last=st.integers(1, 200),
    max_tokens=st.integers(1, 500),
)
async def test_whatever_is_kept_fits_and_is_the_newest(
    sizes: list[int], system: bool, last: int, max_tokens: int
) -> None:
    messages = talk(0, system=system)[:-1]
    for number, size in enumerate(sizes):
        role = "assistant" if number % 2 else "user"
        messages.append({"role": role, "content": "word " * size})
    if len(sizes) % 2:
        messages.append({"role": "assistant", "content": "word"})
    messages.append({"role": "user", "content": "word " * last})
    fitted = await Trimmer(CTX_SIZE, Words()).fit(request(messages, max_tokens=max_tokens))
    kept = list(fitted.request.messages)
    assert words(kept) <= CTX_SIZE - min(LEAST_REPLY_TOKENS, max_tokens)
    assert len(kept) + fitted.left_out == len(messages)
    assert kept[0] == messages[0] or not system
    tail = kept[1:] if system else kept
    assert tail == messages[len(messages) - len(tail) :]
