"""What a foreground `up` does once all is up: says what stops and starts, until it is told to stop."""

import signal
from threading import Event
from types import FrameType

from app.local import leftovers
from app.local.errors import ServerDown
from app.local.progress import Progress
from app.local.supervision import ProcessState, Supervisor

#: Seconds between two looks; restarts are rare and nobody reads faster.
LOOK_SECONDS = 1.0


class StopAsked(BaseException):
    """Ctrl-C, SIGTERM, or the terminal was closed."""


def listen_for_stop() -> None:
    """Turns the signals that ask for an end into StopAsked, wherever the start just is."""

    def asked(_number: int, _frame: FrameType | None) -> None:
        ignore_stop()
        raise StopAsked

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, asked)


def ignore_stop() -> None:
    """While stopping: being asked twice must not leave it half done."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def watch(supervisor: Supervisor, progress: Progress) -> None:
    """Returns when the supervisor is gone; raises StopAsked when this process is told to stop."""
    never = Event()
    known: dict[str, ProcessState] = {}
    while supervisor.alive():
        try:
            now = supervisor.processes()
        except ServerDown:
            now = known
        for line in changes(known, now):
            progress.say(line)
        known = now
        never.wait(LOOK_SECONDS)
    leftovers.end(supervisor.home)


def changes(before: dict[str, ProcessState], after: dict[str, ProcessState]) -> list[str]:
    """What happened between two looks, a line each: how a process ended and what is done about it."""
    lines = []
    for name, now in after.items():
        was = before.get(name)
        if was is None or (was.pid, was.state) == (now.pid, now.state):
            continue
        ended = f"{name} stopped ({now.ended})" if now.ended else f"{name} stopped"
        if now.state in ("running", "starting") and was.pid and now.pid != was.pid:
            lines.append(f"{ended}, started again")
        elif now.state == "running" and was.state != "starting":
            lines.append(f"{name} runs again")
        elif now.state == "backoff" and was.state != "backoff":
            lines.append(f"{ended}, tried again in a moment (see logs/{name}.log)")
        elif now.state in ("exited", "failed"):
            lines.append(f"{ended} and is not started again (see logs/{name}.log)")
    return lines
