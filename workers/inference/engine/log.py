"""The engine's own output: the last lines for people, a rotated file for the owner, and no prompt in either.

llama.cpp prints no prompts at its default verbosity, but it does quote what it could not parse, JSON schemas
included. Before the server is ready nobody's text has reached it, so every line is kept. From then on a line is
kept only if it has a shape we know, and cut where it begins to quote.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

#: What an error shows to a person.
LAST_LINES = 50
#: A megabyte holds the lines of about 1,500 turns; three files are kept.
FILE_BYTES = 1_000_000
OLD_FILES = 2
#: Nothing worth reading in one line is longer; a backtrace line is about 200.
LINE_CHARS = 500

#: "0.08.797.285 I slot launch_slot_: ..." (time and level are missing in older builds).
_SHAPE = re.compile(
    r"(?:\d+\.\d\d\.\d{3}\.\d{3} )?(?:[DIWE] )?"
    r"(?:(?:srv|slot|cmn|main|que|res|common|llama|ggml|gguf|system_info|build|device)\b|(?:common|llama|ggml|gguf)_\w+)"
)
#: How a dying process speaks: C++ and Python run-times, GPU drivers, assertions with their place in the
#: source.
_LAST_WORDS = re.compile(
    r"GGML_ASSERT|CUDA error|[\w./-]+\.(?:cpp|cu|cuh|c|h|m|mm|pyx):\d+:|libc\+\+abi|terminate called|#\d+ +0x"
    r"|Segmentation fault|Aborted|Killed|Fatal Python error|Traceback|error: (?:Insufficient|Internal|Caused GPU)"
)
#: From here on a line may quote a request or a reply.
_QUOTE = re.compile(
    r"(got exception|last read|request|response|prompt|input|content|grammar|schema|pars\w+)\s*[:=].*", re.IGNORECASE
)
_STATUS = re.compile(r'"code":\s*(\d+)|"type":\s*"(\w+)"')


def scrub(line: str) -> str | None:
    """Return `line` without anything a person may have typed, or None to drop it."""
    if _LAST_WORDS.match(line):
        return line
    if not _SHAPE.match(line):
        return None
    quote = _QUOTE.search(line)
    if quote is None:
        return line
    # Of a server error its code and type are harmless and say most.
    status = " ".join(code or kind for code, kind in _STATUS.findall(quote[0]))
    return f"{line[: quote.start()]}{quote[1]}: {status or '(text withheld)'}"


class EngineLog:
    """Takes the child's output as bytes; keeps the last lines in memory and all of them in a rotated file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8", delay=True)
        self._file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._rest = b""
        #: Set once requests may have reached the child.
        self.private = False

    def begin(self) -> None:
        """Forget the lines of an earlier child."""
        self._lines.clear()
        self._rest = b""
        self.private = False

    def feed(self, data: bytes) -> None:
        """Take the next piece of output, wherever it was cut."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        # A line without an end is not waited for longer than a line can be.
        self._rest = self._rest[-4 * LINE_CHARS :]
        for line in lines:
            self.add(line.decode("utf-8", "replace").rstrip())

    def add(self, line: str) -> None:
        """Keep one line, scrubbed if requests may have been quoted in it."""
        kept = scrub(line) if self.private else line
        if not kept:
            return
        kept = kept[:LINE_CHARS]
        self._lines.append(kept)
        self._file.emit(logging.LogRecord("llama.cpp", logging.INFO, "", 0, kept, None, None))

    def finish(self) -> None:
        """Take what the child said last without ending the line, and release the file."""
        rest, self._rest = self._rest, b""
        self.add(rest.decode("utf-8", "replace").rstrip())
        self._file.close()

    def last(self) -> tuple[str, ...]:
        """The newest lines, oldest first."""
        return tuple(self._lines)
