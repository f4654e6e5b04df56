"""Finding loopback ports nobody uses, below those the system hands to outgoing connections."""

import random
import socket

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
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Binding alone passes beside a socket that is bound with SO_REUSEADDR too: listening does not.
            probe.listen(1)
        except OSError:
            return False
    return True


def pick(taken: set[int]) -> int:
    """A free port that is none of `taken` (those already promised to others of this stack)."""
    for port in random.sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
        if port not in taken and is_free(port):
            return port
    raise OSError("no free port on loopback")


def pick_web(taken: set[int]) -> int:
    """The first free port from 8000 up, since people remember it; else any."""
    for port in range(WEB_PORT, WEB_PORT + WEB_TRIES):
        if port not in taken and is_free(port):
            return port
    return pick(taken)
