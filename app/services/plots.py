"""Which plots there are: one table for the page's and for the pictures in Discord."""

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot; None where there is nothing to show."""

    name: str
    values: list[float | None]


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture: its lines over the moments of a summary."""

    kind: str
    title: str
    unit: str
    lines: list[Line]


TITLES: Final = {
    "turns": ("Turns", ""),
    "first": ("First token", "s"),
    "wait": ("Wait for a slot", "s"),
    "tokens": ("Tokens written", ""),
    "speed": ("Speed of a reply", "tokens/s"),
    "memory": ("Memory of the engines", "GB"),
    "heat": ("Heat of the nodes", "°C"),
    "queue": ("Turns that wait and run", ""),
}
"""Every plot, and its unit."""
_SAMPLES: Final = {"memory": ("node.memory", 1e9), "heat": ("node.heat", 1.0)}


def plot(kind: str, summary: dict[str, Any]) -> Plot:
    """Return a plot of a summary; KeyError where there is no such kind."""
    title, unit = TITLES[kind]
    return Plot(kind, title, unit, _lines(kind, summary))


def every(summary: dict[str, Any]) -> list[Plot]:
    """Return all plots that have anything to show."""
    found = [plot(kind, summary) for kind in TITLES]
    return [one for one in found if any(value is not None for line in one.lines for value in line.values)]


def _lines(kind: str, summary: dict[str, Any]) -> list[Line]:
    series = summary["series"]

    def of(name: str, field: str, scale: float = 1.0) -> Line:
        return Line(name, [None if one[field] is None else one[field] / scale for one in series])

    match kind:
        case "turns":
            done = [float(one["turns"] - one["failed"] - one["cancelled"]) for one in series]
            return [Line("done", [*done]), of("failed", "failed"), of("stopped", "cancelled")]
        case "first":
            return [of("half of all", "first_p50", 1000), of("95 of 100", "first_p95", 1000)]
        case "wait":
            return [of("half of all", "queue_p50", 1000), of("95 of 100", "queue_p95", 1000)]
        case "tokens":
            return [of("written", "completion_tokens")]
        case "speed":
            return [of("mean", "tokens_per_second")]
        case "queue":
            found = summary["samples"].get("queue.length", {})
            return [Line(name, found[name]) for name in ("waiting", "running") if name in found]
        case _:
            sample, scale = _SAMPLES[kind]
            lines = summary["samples"].get(sample, {})
            return [
                Line(name, [None if one is None else one / scale for one in values]) for name, values in sorted(lines.items())
            ]
