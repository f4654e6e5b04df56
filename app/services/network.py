"""Whose an address is: what is counted for one address is counted for all that one customer of a provider has."""

import ipaddress
from typing import Final

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def network(address: str) -> str:
    """Return what one customer of a provider has: an IPv4 address, or a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def place(address: str) -> str:
    """Return whose an address is; empty for the machine itself, where every page comes from one address."""
    return "" if address in LOOPBACK or not address else network(address)
