"""Renders Markdown as sanitised HTML, whole or block by block while a reply is still being written.

Each top-level block is rendered on its own, exactly once, as soon as nothing that follows can change it. Link
reference definitions are off for that reason: one at the end of a reply would change blocks already shown.
Text too long or too tangled to be worth it is shown as it is, so that the work stays in proportion to its length.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from markdown_it.token import Token

from app.services.markup import blocks_of, plain, rich

BLOCK_BYTES = 32 * 1024  # A longer top-level block (fenced code apart) is cut at a line end and shown as text.
RICH_BYTES = 96 * 1024  # What begins later is shown as text: the longest prompt is 32,000 characters.
RICH_BLOCKS = 2_000  # So is what follows so many blocks: each costs 0.2 ms, however short.
WORK_PER_BYTE = 4  # Looking for a block's end may read each byte this often on average …
WORK_FREE = 16 * 1024  # … and this many more, so that a short reply is looked at after every line.
CODE = ("```", "~~~")
LIGHT_BYTES = 1024  # So much text without code is rendered in less than the way to another thread and back costs others.
TOKEN_WORK = 8  # What making one token costs, in bytes read.

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r(?!\Z))")  # A last "\r" may be half of a "\r\n": it waits.
_FENCE = re.compile(r" {0,3}(?:(`{3,})[^`\r\n]*|(~{3,})[^\r\n]*)[\r\n]*\Z")
_BLANK = re.compile(r"[ \t]*[\r\n]*\Z")
_BEGINS = re.compile(r" {0,3}[#>\-*+`~|=_\d]")  # A line that may begin a block without a blank line before it.
_CLOSED_BY_BLANK = frozenset({"paragraph_open", "table_open", "blockquote_open"})
_CLOSED_AT_ONCE = frozenset({"heading_open", "hr"})


class Block(NamedTuple):
    """One finished top-level block: its place in the text, in UTF-8 bytes, and its sanitised HTML."""

    start: int
    end: int
    html: str


def render(text: str) -> str:
    """Return the whole of `text` as sanitised HTML."""
    blocks = Blocks()
    return "".join(block.html for block in [*blocks.feed(text), *blocks.finish()])


class Blocks:
    """Splits a growing text into finished blocks: contiguous from byte 0, each handed out once."""

    def __init__(self) -> None:
        self.work = 0  # Bytes read, and tokens made, in search of block ends; tests hold it to its bound.
        self._done: list[_Done] = []
        self._start = 0  # The byte where the open block begins
        self._clear()

    def _clear(self) -> None:
        self._lines: list[_Line] = []  # The complete lines of what is not handed out yet
        self._size = 0  # Their bytes
        self._partial: list[str] = []  # The line that is still being written
        self._fence: str | None = None  # What opened the open block if it is a fence, "" if not, None: not known
        self._searched = 0  # Lines already searched for the end of that fence
        self._ripe = False  # A line has come that may have ended the open block
        self._credit = WORK_FREE

    def feed(self, text: str) -> list[Block]:
        """Add `text` at the end and return the blocks that are finished now."""
        waiting = bool(self._partial) and self._partial[-1].endswith("\r")
        if text:
            self._partial.append(text)
        if not waiting and "\n" not in text and "\r" not in text:
            return []
        partial, end, taken = "".join(self._partial), 0, list[Block]()
        while match := _LINE.match(partial, end):  # Not finditer: it would search a long last line over and over.
            self._add(match.group())
            end = match.end()
            if self._size >= BLOCK_BYTES:
                taken += self._take(final=False)
        self._partial = [partial[end:]] if end < len(partial) else []
        return taken + self._take(final=False)

    def finish(self) -> list[Block]:
        """Return what is left: the text has ended."""
        rest = "".join(self._partial)
        self._partial = []
        if rest:
            self._add(rest)
        return self._take(final=True)

    def whole(self, text: str) -> str:
        """Return the whole of `text`, which has ended, as `render` would: where it is what was fed, only its end is rendered."""
        fed = "".join([*(done.source for done in self._done), *(line.text for line in self._lines), *self._partial])
        if fed != text:
            return render(text)
        self.finish()
        return "".join(done.html for done in self._done)

    def light(self, text: str) -> bool:
        """Say whether what is open and `text` are so short, and so surely no code to be coloured, that rendering takes no while."""
        if self._size > LIGHT_BYTES:
            return False
        open_now = "".join([*(line.text for line in self._lines), *self._partial, text])
        return len(open_now) <= LIGHT_BYTES and not any(mark in open_now for mark in CODE)

    def truncate(self, at: int) -> None:
        """Forget the text from byte `at` on, and every block that was finished because of it."""
        kept = [done for done in self._done if done.known <= at]
        forgotten = [done.source for done in self._done[len(kept) :]]
        rest = "".join([*forgotten, *(line.text for line in self._lines), *self._partial])
        self._done = kept
        self._start = sum(done.size for done in kept)
        self._clear()
        self._partial = [_bytes(rest)[: max(0, at - self._start)].decode("utf-8", "surrogatepass")]

    def _add(self, text: str) -> None:
        line = _Line(text, len(_bytes(text)))
        after_blank = bool(self._lines) and bool(_BLANK.match(self._lines[-1].text))
        self._lines.append(line)
        self._size += line.size
        self._credit += line.size * WORK_PER_BYTE
        if self._fence is None:
            self._look_for_fence(len(self._lines) - 1)
        if not self._fence and not self._ripe:
            self._ripe = after_blank or bool(_BLANK.match(text) or _BEGINS.match(text))

    def _look_for_fence(self, index: int) -> None:
        """Find out from the first line that is not blank, searched from `index` on, what the open block is."""
        self._fence = None
        while self._fence is None and index < len(self._lines):
            self._fence = _marker(self._lines[index].text)
            index += 1
        self._searched = index

    def _take(self, final: bool) -> list[Block]:
        taken: list[Block] = []
        while self._lines and (more := self._next(final)):
            taken += more
        return taken

    def _next(self, final: bool) -> list[Block]:
        """Hand out finished blocks, a window's worth at most; none means that more text is needed."""
        late = self._late()
        if self._fence and not late:
            return self._next_fence(self._fence, final)
        full = self._size >= BLOCK_BYTES
        window = self._window() if full else self._lines
        last = final and len(window) == len(self._lines)
        if late:
            return self._hand_out([len(window)]) if full or last else []
        if not (full or last or self._ripe and self._credit >= self._size):
            return []
        self._ripe = len(window) < len(self._lines)
        counts = self._finished(window, last)
        if not counts and full:
            return self._hand_out([len(window)])  # One line or list too long to be worth more than its text.
        return self._hand_out(counts)

    def _late(self) -> bool:
        return self._start >= RICH_BYTES or len(self._done) >= RICH_BLOCKS

    def _next_fence(self, marker: str, final: bool) -> list[Block]:
        closing = re.compile(rf" {{0,3}}{marker[0]}{{{len(marker)},}}[ \t]*[\r\n]*\Z")
        for index in range(self._searched, len(self._lines)):
            if closing.match(self._lines[index].text):
                return self._hand_out([index + 1])
        self._searched = len(self._lines)
        return self._hand_out([len(self._lines)]) if final else []

    def _finished(self, window: Sequence["_Line"], last: bool) -> list[int]:
        """Return how many lines each finished block takes; blank lines count with the block they precede."""
        source = "".join(line.text for line in window)
        tokens = blocks_of(source)
        work = len(source) + TOKEN_WORK * len(tokens)
        self.work += work
        self._credit -= work
        tops = [token for token in tokens if token.level == 0 and token.map]
        ends = [token.map[1] for token in tops if token.map]
        if last:
            ends[-1:] = [len(window)]
        elif tops and not _closed(tops[-1], window):
            ends.pop()
        return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]

    def _window(self) -> list["_Line"]:
        size = 0
        for count, line in enumerate(self._lines, 1):
            size += line.size
            if size >= BLOCK_BYTES:
                return self._lines[:count]
        return self._lines

    def _hand_out(self, counts: Sequence[int]) -> list[Block]:
        blocks: list[Block] = []
        known, taken = self._start + self._size, 0
        for count in counts:
            late = self._late()
            if late and blocks:
                break
            lines = self._lines[taken : taken + count]
            source, size = "".join(line.text for line in lines), sum(line.size for line in lines)
            show = plain if late or size >= BLOCK_BYTES and not _fence(lines) else rich
            html = show(source)
            self._done.append(_Done(source, size, known, html))
            blocks.append(Block(self._start, self._start + size, html))
            taken += count
            self._start += size
            self._size -= size
        if blocks:
            del self._lines[:taken]
            self._look_for_fence(0)
        return blocks


class _Line(NamedTuple):
    text: str
    size: int  # bytes


class _Done(NamedTuple):
    source: str
    size: int  # bytes
    known: int  # how far the text was known, in bytes, when this block was held to be finished
    html: str


def _marker(line: str) -> str | None:
    """Return what opens a fence in this line, "" if it opens something else, None if it is blank."""
    if _BLANK.match(line):
        return None
    match = _FENCE.match(line)
    return (match[1] or match[2]) if match else ""


def _fence(lines: Sequence[_Line]) -> str | None:
    """Return what opens a fence in the first line that is not blank."""
    return next((marker for line in lines if (marker := _marker(line.text)) is not None), None)


def _closed(token: Token, window: Sequence[_Line]) -> bool:
    """Tell whether the last block in a window of complete lines can change no more."""
    begin, end = token.map or (0, 0)
    if token.type == "fence":
        return end - begin == token.content.count("\n") + 2  # Its opening and its closing line are both there.
    return token.type in _CLOSED_AT_ONCE or token.type in _CLOSED_BY_BLANK and end < len(window)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
