"""What the machine of a node says of itself: memory, battery and heat, as far as its system tells."""

from dataclasses import asdict, dataclass
from typing import Any

import psutil

HOT = 120.0
"""Degrees Celsius above which a sensor is broken rather than the machine hot."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine at one moment; None where it has no such thing, or does not tell."""

    resident: int = 0
    """Bytes of the node's own process."""
    free: int = 0
    """Bytes that programs could still have."""
    battery: int | None = None
    """Percent."""
    plugged: bool | None = None
    """Whether it hangs on the mains."""
    heat: float | None = None
    """Degrees Celsius of its warmest sensor."""

    def told(self) -> dict[str, Any]:
        """Return what is known, as a beat carries it."""
        found = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: int(value) if isinstance(value, bool) else value for name, value in found.items()}


def look() -> Machine:
    """Ask the system; takes some milliseconds, so not on a loop that others wait for."""
    battery = _battery()
    return Machine(
        psutil.Process().memory_info().rss,
        psutil.virtual_memory().available,
        round(battery.percent) if battery else None,
        battery.power_plugged if battery else None,
        _heat(),
    )


def _battery() -> Any:
    # Not there on every system, and containers may hide what stands behind it.
    ask = getattr(psutil, "sensors_battery", None)
    try:
        return ask() if ask else None
    except (OSError, RuntimeError):
        return None


def _heat() -> float | None:
    ask = getattr(psutil, "sensors_temperatures", None)
    try:
        sensors = ask() if ask else {}
    except (OSError, RuntimeError):
        return None
    degrees = [one.current for group in sensors.values() for one in group if one.current and 0 < one.current < HOT]
    return max(degrees, default=None)
