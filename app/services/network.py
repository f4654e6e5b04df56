"""Whose an address is: what is counted for one address is counted for all that one customer of a provider has."""

import ipaddress
from typing import Final

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
HERE: Final = ("", "127.0.0.1")


def network(address: str) -> str:
    """Return what one customer of a provider has: an IPv4 address, or a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 6 and parsed.ipv4_mapped:  # How a socket for both shows IPv4: all of it lies in one /64.
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def site(address: str) -> str:
    """Return the most that one customer of a provider has, which others may be in as well: a /48 of IPv6; empty for IPv4."""
    whole = network(address)
    return str(ipaddress.ip_network(whole).supernet(new_prefix=48)) if whole.endswith("/64") else ""


def place(address: str) -> str:
    """Return whose an address is; empty for the machine itself, where every page comes from one address."""
    found = network(address)
    return "" if found in HERE or address in LOOPBACK else found
