"""What a foreground `up` does once all is up: says what stops and starts, until it is told to stop."""

import os
import re
import sys
from pathlib import Path
from threading import Event

from app.local import leftovers, stop_signals
from app.local.home import Home
from app.local.progress import Progress
from app.local.stop_signals import StopAsked
from app.local.supervision import Supervisor

#: Seconds between two looks; restarts are rare and nobody reads faster.
LOOK_SECONDS = 1.0
#: As supervisord 4 writes them: "exited: web (terminated by SIGKILL; not expected)".
EXITED = re.compile(r" exited: (\S+) \((.+?)(?:; (?:not )?expected)?\)")
RUNS = re.compile(r" success: (\S+) entered RUNNING state")


def end_of_news(home: Home) -> int:
    """Where supervisord's log ends now, in bytes: what comes after it is news."""
    return home.log(leftovers.SUPERVISOR).stat().st_size


def become(home: Home, since: int) -> None:
    """Goes on as this module alone, under the same pid: for as long as all runs, only this much stays in memory.

    What supervisord wrote from byte `since` of its log on is still told. Raises StopAsked if an end was asked for before.
    """
    sys.stdout.flush()
    # Whoever asks for an end while the new program loads is heard once it listens.
    stop_signals.block()
    stop_signals.check()
    os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, str(home.path), str(since)])  # noqa: S606 - no shell is the point


def main(home: Home, since: int) -> None:
    """Watches until told to stop, then stops everything."""
    progress = Progress()
    try:
        stop_signals.listen()
        stop_signals.unblock()
        if supervisor := Supervisor.connect(home):
            watch(supervisor, progress, since)
    except StopAsked:
        progress.say("Stopping …")
        if supervisor := Supervisor.connect(home):
            supervisor.stop()
    stop_signals.ignore()
    leftovers.end(home)
    leftovers.forget(home, leftovers.UP)
    progress.say("Stopped.")


def watch(supervisor: Supervisor, progress: Progress, since: int) -> None:
    """Returns when the supervisor is gone; raises StopAsked when this process is told to stop."""
    never = Event()
    news = News(supervisor.home.log(leftovers.SUPERVISOR), since)
    while supervisor.alive():
        stop_signals.check()
        for line in news.read():
            progress.say(line)
        never.wait(LOOK_SECONDS)


class News:
    """What supervisord writes into its log from now on, in words; nothing is missed between two looks."""

    def __init__(self, log: Path, since: int) -> None:
        self._log = log
        self._at = since
        self._ill: set[str] = set()

    def read(self) -> list[str]:
        """The lines since the last look that a person should see."""
        with self._log.open(encoding="utf-8", errors="replace") as log:
            if self._log.stat().st_size < self._at:
                # Turned over: the new one is read from its beginning.
                self._at = 0
            log.seek(self._at)
            lines = [told for line in log.readlines() if (told := self._told(line))]
            self._at = log.tell()
        return lines

    def _told(self, line: str) -> str | None:
        if found := EXITED.search(line):
            name, how = found.groups()
            self._ill.add(name)
            return f"{name} stopped ({how}); starting it again (see logs/{name}.log)"
        if (found := RUNS.search(line)) and found[1] in self._ill:
            self._ill.remove(found[1])
            return f"{found[1]} runs again"
        return None


if __name__ == "__main__":
    main(Home.at(sys.argv[1]), int(sys.argv[2]))
