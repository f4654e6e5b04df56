"""Finding loopback ports nobody uses, below those the system hands to outgoing connections."""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

#: Picked from below 32768, where Linux's outgoing connections begin (macOS: 49152), so that a remembered port
#: is not taken by somebody's passing connection while the stack is down.
LOWEST, HIGHEST = 20_000, 32_000
#: Where the page is looked for first.
WEB_PORT = 8000
#: How many ports from WEB_PORT up are tried before any free one will do.
WEB_TRIES = 100

LOOPBACK = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now; connections of an earlier server that linger do not count."""
    held = Held()
    free = held.take(port, host)
    held.done()
    return free


class Held:
    """Ports kept for this start: listened on until their servers are started, marked as taken until they listen.

    The mark, a locked file, is for other starts of this user only: a server may need seconds until it listens, and
    the port is nobody's meanwhile.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._marks: dict[int, int] = {}

    def take(self, port: int, host: str = LOOPBACK) -> bool:
        """Takes the port if nobody has it; says whether."""
        if port in self._sockets or not self._mark(port):
            return False
        if not self._listen(port, host):
            self.done(port)
            return False
        return True

    def _listen(self, port: int, host: str) -> bool:
        taken = socket.socket()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((host, port))
            # Binding alone passes beside a socket that is bound with SO_REUSEADDR too: listening does not.
            taken.listen(1)
        except OSError:
            taken.close()
            return False
        self._sockets[port] = taken
        return True

    def pick(self) -> int:
        """Takes any free port."""
        candidates = random.sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST)
        return next(port for port in candidates if self.take(port))

    def pick_web(self, host: str = LOOPBACK) -> int:
        """Takes the first free port from 8000 up, since people remember it; else any."""
        for port in range(WEB_PORT, WEB_PORT + WEB_TRIES):
            if self.take(port, host):
                return port
        return self.pick()

    def _mark(self, port: int) -> bool:
        if port in self._marks:
            return True
        folder = _marks()
        if folder is None:
            return True
        descriptor = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._marks[port] = descriptor
        return True

    def done(self, *ports: int) -> None:
        """Takes the mark from these ports, or from all, and lets go of them: their servers listen, or never will."""
        self.release(*ports)
        for port in ports or tuple(self._marks):
            if port in self._marks:
                os.close(self._marks.pop(port))

    def release(self, *released: int) -> None:
        """Lets go of these ports, or of all, for the servers that are about to listen there."""
        for port in released or tuple(self._sockets):
            if port in self._sockets:
                self._sockets.pop(port).close()


def _marks() -> Path | None:
    """The folder of the marks, this user's alone; None where somebody else sits on its name."""
    folder = Path(tempfile.gettempdir(), f"meatlizard-ports-{os.geteuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        mine = folder.lstat().st_uid == os.geteuid() and not folder.is_symlink()
    except OSError:
        return None
    return folder if mine else None
