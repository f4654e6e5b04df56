"""Hearing Ctrl-C, SIGTERM and a closed terminal wherever a start just is, and never forgetting that one came."""

import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_asked = False


class StopAsked(BaseException):
    """Ctrl-C, SIGTERM, or the terminal was closed."""


def listen() -> None:
    """Turns the signals that ask for an end into StopAsked, wherever the start just is."""
    global _asked
    _asked = False

    def asked(_number: int, _frame: FrameType | None) -> None:
        global _asked
        _asked = True
        ignore()
        raise StopAsked

    for number in STOP_SIGNALS:
        signal.signal(number, asked)


def ignore() -> None:
    """While stopping: being asked twice must not leave it half done."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def block() -> None:
    """Keeps the signals waiting until `unblock`, in whatever program this process becomes until then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def unblock() -> None:
    """Lets in what came since `block`."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def check() -> None:
    """Raises StopAsked if an end was asked for: to be called between steps.

    A signal's handler can run inside a finalizer or a callback of the interpreter (importing has such), where Python
    prints what is raised and goes on.
    """
    if _asked:
        raise StopAsked
