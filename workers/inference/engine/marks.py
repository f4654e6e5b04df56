"""Keeps the model's own marks for the template: what people type is text, even where it spells a mark out.

A chat template is text too, and llama.cpp reads marks such as <|im_end|> wherever they stand in it: typed into a prompt
they would end it, and speak on as the system. What is a mark only the model's tokenizer knows, so it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from workers.inference.engine.request import Message

#: A word joiner: it prints as nothing, and no mark has one inside.
BREAK: Final = "\N{WORD JOINER}"
#: Marks stand in brackets, in every vocabulary that we know of.
_LIKE_A_MARK: Final = re.compile(r"[<\[][^<>\[\]\n]{1,64}[>\]]")
#: What is broken where the tokenizer cannot be asked: the marks of the usual templates.
_USUAL: Final = re.compile(r"<\|[^|]+\|>|<\uff5c[^\uff5c]+\uff5c>|<(start|end)_of_turn>|</?s>|\[/?(INST|SYSTEM_PROMPT|AVAILABLE_TOOLS)\]")
#: Answers that are kept: whoever sends pages of HTML has the tokenizer asked once for each tag.
KEPT: Final = 4096

#: Says of a text whether its tokens are others when marks are read in it; None where nobody can say.
Holds = Callable[[str], Awaitable[bool | None]]


class Marks:
    """What one model takes for its marks, as far as it was asked."""

    def __init__(self, holds: Holds) -> None:
        self._holds: Final = holds
        self._known: Final[dict[str, bool]] = {}

    async def plain(self, messages: Sequence[Message]) -> list[Message]:
        """Return the messages with each mark in them broken by a character that does not show."""
        found = {word for one in messages for word in _LIKE_A_MARK.findall(one["content"])}
        if not found:
            return list(messages)
        await self._ask(sorted(found - self._known.keys()))
        marks = [word for word in found if self._known.get(word)]
        return [{"role": one["role"], "content": broken(one["content"], marks)} for one in messages]

    async def _ask(self, words: Sequence[str]) -> None:
        if not words:
            return
        if len(self._known) > KEPT:
            self._known.clear()
        held = await self._holds("\n".join(words))
        if held is None:
            self._known.update((word, bool(_USUAL.fullmatch(word))) for word in words)
        elif not held or len(words) == 1:
            self._known.update(dict.fromkeys(words, held))
        else:
            # Hardly anyone types one, so it is found in halves.
            middle = len(words) // 2
            await self._ask(words[:middle])
            await self._ask(words[middle:])


def broken(text: str, marks: Iterable[str]) -> str:
    """Return a text with a joiner after the first character of each of these marks."""
    for mark in marks:
        text = text.replace(mark, mark[0] + BREAK + mark[1:])
    return text
