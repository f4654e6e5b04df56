"""How long a connection to a server may be dead before its kernel says so; the same for every process, nodes included."""

import socket
from typing import Final

IDLE_SECONDS: Final = 5
PROBE_SECONDS: Final = 3
PROBES: Final = 3
"""A silent connection is asked after five seconds, and given up after nine more: the kernel's own choice is two hours."""
UNANSWERED_MS: Final = 15_000
"""Bytes that nobody acknowledges for so long end a connection: it is never probed while there are any, and the kernel
would go on sending them for a quarter of an hour."""

_WANTED: Final = {
    "TCP_KEEPIDLE": IDLE_SECONDS,
    "TCP_KEEPALIVE": IDLE_SECONDS,  # macOS' word for it
    "TCP_KEEPINTVL": PROBE_SECONDS,
    "TCP_KEEPCNT": PROBES,
    "TCP_USER_TIMEOUT": UNANSWERED_MS,  # Linux alone
}
OPTIONS: Final = {getattr(socket, name): value for name, value in _WANTED.items() if hasattr(socket, name)}
"""As redis-py and kombu take them; what a system does not know is left out."""
