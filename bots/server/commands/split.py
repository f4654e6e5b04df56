"""Cutting a reply into messages that Discord takes, without breaking words or blocks of code."""

import re
from dataclasses import dataclass
from typing import Final

LIMIT: Final = 2000
"""Characters of a message (Discord's documentation, Create Message); counted here in UTF-16 units, which are never fewer."""
ROOM: Final = 1840
"""What a part takes of it: the rest is for the line below that says how the reply stands."""
FENCE: Final = re.compile(r"`{3,}")
LANGUAGE: Final = re.compile(r"[A-Za-z0-9_+\-.#]{0,30}(?=\n)")
"""What Discord takes for the language of a block: it stands right behind the fence, alone on its line."""
CLOSE: Final = "\n```"
JOINS: Final = frozenset("\u200d\ufe0e\ufe0f")
"""Joiners and variation selectors: what stands around them is one picture."""


@dataclass(frozen=True, slots=True)
class Part:
    """One message's worth of a text, and where it was taken from."""

    start: int
    end: int
    content: str


def units(text: str) -> int:
    """Return the length of a text in UTF-16 code units."""
    return len(text) + sum(char > "\uffff" for char in text)


def split(text: str, room: int = ROOM) -> list[Part]:
    """Return the parts of a text, at least one; where it grows, those before the last one stay as they are.

    A block of code that is cut is closed at the end of its part, and opened again with its language in the next.
    """
    parts: list[Part] = []
    start, opened = 0, None
    while True:
        head, body = "", start
        if opened is not None:
            closing = re.match(r"\s*`{3,}[^\S\n]*\n?", text[start : start + 80])
            if closing:  # Nothing is left of the block but its end, which the part before has written already.
                body, opened = start + closing.end(), None
            else:
                head = f"```{opened}\n"
        end = _fitting(text, body, room - units(head) - units(CLOSE))
        if end < len(text):
            end = _cut(text, body, end, opened)
        within = _open_at(text, body, end, opened)[0]
        last = end >= len(text)
        tail = "" if within is None else CLOSE.removeprefix("\n") if text[body:end].endswith("\n") else CLOSE
        parts.append(Part(start, end, head + text[body:end] + tail))
        if last:
            return parts
        start, opened = end, within


def _fitting(text: str, start: int, room: int) -> int:
    """Return where the text ends that has room, counted in UTF-16 units."""
    end = min(len(text), start + room)
    if units(text[start:end]) <= room:
        return end
    total = 0
    for index in range(start, end):
        total += 1 + (text[index] > "\uffff")
        if total > room:
            return index
    return end


def _cut(text: str, start: int, end: int, opened: str | None) -> int:
    """Return the best place for a cut, from what stands before `end` alone."""
    half = start + (end - start) // 2
    paragraph, line = text.rfind("\n\n", half, end), text.rfind("\n", half, end)
    if paragraph >= 0 and _open_at(text, start, paragraph + 2, opened)[0] is None:
        cut = paragraph + 2
    elif line >= 0:
        cut = line + 1
    else:
        space = max(text.rfind(blank, half, end) for blank in " \t")
        cut = space + 1 if space >= 0 else _between(text, half, end)
    within, since = _open_at(text, start, cut, opened)
    # A block that would begin with nothing in it but its first line begins in the next part.
    if within is not None and since > start and "\n" not in text[since:cut].rstrip():
        return since
    return cut


def _between(text: str, half: int, end: int) -> int:
    """Return a place in a word without end: not within a run of backticks, nor between what is drawn as one."""
    cut = end
    while cut > half and (
        (text[cut - 1] == "`" and text[cut] == "`")
        or text[cut] in JOINS
        or text[cut - 1] == "\u200d"
        or "\u0300" <= text[cut] <= "\u036f"
        or "\U0001f3fb" <= text[cut] <= "\U0001f3ff"
    ):
        cut -= 1
    return cut if cut > half else end


def _open_at(text: str, start: int, end: int, opened: str | None) -> tuple[str | None, int]:
    """Return the language of the block that is open at `end`, None outside of any, and where that block begins."""
    since = start
    for fence in FENCE.finditer(text, start, end):
        if opened is None:
            language = LANGUAGE.match(text, fence.end(), end)
            opened, since = language[0] if language else "", fence.start()
        else:
            opened = None
    return opened, since
