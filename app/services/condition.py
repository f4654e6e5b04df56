"""A node's condition in a few words, the same wherever it is shown: how fast, how much memory, battery and heat."""

from collections.abc import Mapping
from typing import Any, Final

_GIGABYTE: Final = 2**30


def words(one: Mapping[str, Any]) -> str:
    """Return what a node says of its machine, from the fields of `nodes.Shown`; empty where it says nothing."""
    said = []
    if speed := one.get("tokens_per_second"):
        said.append(f"{speed:.0f} tokens/s")
    if memory := one.get("memory"):
        free = f", {gigabytes(one['free'])} free" if one.get("free") else ""
        said.append(gigabytes(memory) + free)
    if one.get("battery") is not None:
        said.append(f"battery {one['battery']:.0f} %" + ("" if one.get("plugged") else ", unplugged"))
    if heat := one.get("heat"):
        said.append(f"{heat:.0f} °C")
    return " · ".join(said)


def gigabytes(count: float) -> str:
    """Return bytes in words."""
    return f"{count / _GIGABYTE:.1f} GB"
