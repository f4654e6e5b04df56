"""Why a llama.cpp process ended, read from its exit status and its last lines."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class ExitKind(StrEnum):
    """The causes told apart; only `model` and `options` make a restart pointless."""

    stopped = "stopped"
    hung = "hang"
    slow = "slow start"
    out_of_memory = "out of memory"
    killed = "killed"
    model = "model refused"
    options = "options refused"
    port = "port taken"
    crashed = "crash"


_OUT_OF_MEMORY = re.compile(
    r"out of memory|insufficient memory|failed to allocate|cannot allocate|bad_alloc|OutOf(?:Device)?Memory",
    re.IGNORECASE,
)
_MODEL = re.compile(r"error loading model|failed to load model|corrupted or incomplete|unknown model arch")
_OPTIONS = re.compile(r"error: (?:invalid argument|unknown argument|while handling argument)")
_PORT = re.compile(r"couldn't bind|address already in use", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Exit:
    """One end of one process."""

    kind: ExitKind
    #: As the operating system gave it: negative for a signal.
    status: int
    log: tuple[str, ...]

    def __str__(self) -> str:
        match self.kind:
            case ExitKind.stopped:
                return "llama.cpp was stopped"
            case ExitKind.hung:
                return "llama.cpp hung and was ended"
            case ExitKind.slow:
                return "llama.cpp did not load the model in time (MEATLIZARD_START_SECONDS) and was ended"
            case ExitKind.out_of_memory:
                return (
                    "llama.cpp ran out of memory: lower MEATLIZARD_CTX_SIZE or MEATLIZARD_SLOTS, or use a smaller model"
                )
            case ExitKind.killed:
                return "llama.cpp was killed (signal 9: by hand, or by the system because memory ran out)"
            case ExitKind.model:
                return "llama.cpp cannot load the model"
            case ExitKind.options:
                return "llama-server does not know an option it was given: update it (2026-08-14 or later)"
            case ExitKind.port:
                return "another program took llama.cpp's port"
            case ExitKind.crashed:
                return f"llama.cpp crashed ({_status_words(self.status)})"

    @property
    def hopeless(self) -> bool:
        """Whether the next start would end the same way."""
        return self.kind in (ExitKind.model, ExitKind.options)


def classify(status: int, log: Sequence[str], *, ready: bool, hung: bool, stopped: bool) -> Exit:
    """Tell the causes apart; `ready` says whether the process had ever answered."""
    lines = tuple(log)
    text = "\n".join(lines)
    if stopped:
        kind = ExitKind.stopped
    elif hung:
        kind = ExitKind.hung if ready else ExitKind.slow
    elif _OUT_OF_MEMORY.search(text):
        # Before all others: failing to allocate also makes llama.cpp say "failed to load model".
        kind = ExitKind.out_of_memory
    elif status == -signal.SIGKILL:
        kind = ExitKind.killed
    elif not ready and _PORT.search(text):
        kind = ExitKind.port
    elif not ready and _OPTIONS.search(text):
        kind = ExitKind.options
    elif not ready and _MODEL.search(text):
        kind = ExitKind.model
    else:
        kind = ExitKind.crashed
    return Exit(kind, status, lines)


def _status_words(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
