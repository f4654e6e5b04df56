"""Makes a conversation fit the context: the oldest turns go, the system message and the newest one stay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from workers.inference.engine.errors import PromptTooLong
from workers.inference.engine.request import GenerateRequest, Message

#: Counts the tokens of a whole prompt, template included; None where the server cannot.
Count = Callable[[Sequence[Message]], Awaitable[int | None]]

#: A template puts role names and marks around each message.
MESSAGE_TOKENS = 16
#: ... and some begin with a page of their own; used where the server could not be asked.
TEMPLATE_TOKENS = 256
#: Estimates for servers that do not count: English has about 4 bytes a token, other scripts about 3.
BYTES_PER_TOKEN = 3
#: More bytes than a token has on average in any text; older turns are not even sent to be counted.
MOST_BYTES_PER_TOKEN = 16
#: Of the context, what is kept free for the reply while there are turns to leave out ...
REPLY_SHARE = 4
#: ... and when there is only the newest message left: less would not be an answer.
LEAST_REPLY_TOKENS = 32
#: Turns are left out in steps, so that the prompt begins the same for several turns and llama.cpp finds it in
#: its cache: else every turn of a long session would read the whole context again.
STEP_TURNS = 4


@dataclass(frozen=True, slots=True)
class Fitted:
    """The request as it fits, and how many messages it had to leave out."""

    request: GenerateRequest
    left_out: int


class Trimmer:
    """Fits requests into `ctx_size` tokens, the whole of one slot."""

    def __init__(self, ctx_size: int, count: Count, template_tokens: int = TEMPLATE_TOKENS) -> None:
        self.ctx_size = ctx_size
        self._count = count
        self._template_tokens = template_tokens

    async def fit(self, request: GenerateRequest) -> Fitted:
        """Return the request with the newest turns that fit; raises PromptTooLong if not even one does.

        A prompt that certainly fits (no token is shorter than a byte) costs no round trip; else it is counted by
        the server, in a binary search over the turns.
        """
        messages = request.prompt()
        limit = self.ctx_size - min(request.sampling.max_tokens, self.ctx_size // REPLY_SHARE)
        if self._certainly(messages) <= limit:
            return Fitted(request, 0)
        head, turns, tail = _split(messages)
        first = self._first_countable(turns, limit)
        fewest = await self._search(head, turns, tail, first, limit)
        if fewest == len(turns):
            await self._check_newest(head + tail)
        drop = _in_steps(fewest, len(turns)) if fewest else 0
        kept = [message for turn in turns[drop:] for message in turn]
        left_out = sum(map(len, turns[:drop]))
        # The text so far is in the tail; the request carries it apart.
        newest = tail[:1]
        return Fitted(replace(request, messages=head + kept + newest), left_out)

    async def _search(
        self, head: list[Message], turns: list[list[Message]], tail: list[Message], first: int, limit: int
    ) -> int:
        """The smallest number of turns to leave out, between `first` and all of them."""
        low, high = first, len(turns)
        # Most sessions that are too long in bytes still fit in tokens: all that can be kept is tried first.
        middle = low
        while low < high:
            kept = [message for turn in turns[middle:] for message in turn]
            if await self._tokens(head + kept + tail) <= limit:
                high = middle
            else:
                low = middle + 1
            middle = (low + high) // 2
        return low

    async def _check_newest(self, messages: list[Message]) -> None:
        limit = self.ctx_size - min(LEAST_REPLY_TOKENS, self.ctx_size // REPLY_SHARE)
        tokens = await self._tokens(messages)
        if tokens > limit:
            raise PromptTooLong(tokens, limit)

    async def _tokens(self, messages: Sequence[Message]) -> int:
        counted = await self._count(messages)
        if counted is not None:
            return counted
        return -(-_bytes(messages) // BYTES_PER_TOKEN) + self._around(messages)

    def _certainly(self, messages: Sequence[Message]) -> int:
        """A number of tokens that `messages` cannot exceed."""
        return _bytes(messages) + self._around(messages)

    def _around(self, messages: Sequence[Message]) -> int:
        return self._template_tokens + MESSAGE_TOKENS * len(messages)

    def _first_countable(self, turns: list[list[Message]], limit: int) -> int:
        room = limit * MOST_BYTES_PER_TOKEN
        for index in range(len(turns) - 1, -1, -1):
            room -= _bytes(turns[index])
            if room < 0:
                return index + 1
        return 0


def _split(messages: list[Message]) -> tuple[list[Message], list[list[Message]], list[Message]]:
    """System messages, turns (a user's message and what follows it), the newest message with its prefix."""
    start = 0
    while messages[start]["role"] == "system":
        start += 1
    end = len(messages) - (1 if messages[-1]["role"] == "user" else 2)
    turns: list[list[Message]] = []
    for message in messages[start:end]:
        if message["role"] == "user" or not turns:
            turns.append([message])
        else:
            turns[-1].append(message)
    return messages[:start], turns, messages[end:]


def _in_steps(fewest: int, turns: int) -> int:
    """Round up to whole steps, unless that would cost half of what could stay."""
    stepped = -(-fewest // STEP_TURNS) * STEP_TURNS
    return stepped if 2 * (turns - stepped) >= turns - fewest else fewest


def _bytes(messages: Sequence[Message]) -> int:
    return sum(len(message["content"].encode()) for message in messages)
