"""Which plots there are: one table for the page's and for the pictures in Discord."""

from dataclasses import dataclass
from typing import Any, Final

from app.wire import names


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
    "turns": ("Turns", "in {step}"),
    "first": ("First token", "s"),
    "wait": ("Wait for a slot", "s"),
    "tokens": ("Tokens", "in {step}"),
    "speed": ("Speed of a reply", "tokens/s"),
    "memory": ("Memory of the engines", "GB"),
    "heat": ("Heat of the nodes", "°C"),
    "queue": ("Turns that wait and run", "on average"),
    "tasks": ("Tasks that wait for a worker", "on average"),
    "discord": ("Waits for Discord's limits", "s in {step}"),
}
"""Every plot, and what its figures are; `step` is the time from one point to the next."""
_STEPS: Final = ((1440, "day"), (60, "hour"), (1, "minute"))
WAITS: Final = ("node.discord_wait", "process.discord_wait")
"""Samples of what nodes and the Server-Bot have waited since they were started."""
_SAMPLES: Final = {"memory": ("node.memory", 1e9), "heat": ("node.heat", 1.0)}


def plot(kind: str, summary: dict[str, Any]) -> Plot:
    """Return a plot of a summary; KeyError where there is no such kind."""
    title, unit = TITLES[kind]
    return Plot(kind, title, unit.format(step=step(summary["minutes"])), _lines(kind, summary))


def every(summary: dict[str, Any]) -> list[Plot]:
    """Return all plots that have anything to show."""
    found = [plot(kind, summary) for kind in TITLES]
    return [one for one in found if any(value is not None for line in one.lines for value in line.values)]


def step(minutes: int) -> str:
    """Return the time from one point to the next in words: `15 minutes`, `2 hours`, `a day`."""
    size, word = next((size, word) for size, word in _STEPS if minutes % size == 0)
    return f"{minutes // size} {word}s" if minutes > size else f"an {word}" if word == "hour" else f"a {word}"


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
            return [of("written", "completion_tokens"), of("read", "prompt_tokens")]
        case "speed":
            return [of("mean", "tokens_per_second")]
        case "queue":
            found = summary["samples"].get("queue.length", {})
            return [Line(name, found[name]) for name in ("waiting", "running") if name in found]
        case "tasks":
            found = summary["samples"].get("queue.length", {})
            return [Line(name, found[name]) for name in (*names.PLATFORM_QUEUES, names.RELAY) if name in found]
        case "discord":
            found = {name: line for sample in WAITS for name, line in summary["samples"].get(sample, {}).items()}
            return [Line(name, _grown(line)) for name, line in sorted(found.items())]
        case _:
            sample, scale = _SAMPLES[kind]
            lines = summary["samples"].get(sample, {})
            return [
                Line(name, [None if one is None else one / scale for one in values]) for name, values in sorted(lines.items())
            ]


def _grown(counted: list[float | None]) -> list[float | None]:
    """Return by how much a counter grew from each moment to the next; one that is lower than before was begun anew."""
    found: list[float | None] = []
    before: float | None = None
    for value in counted:
        found.append(None if value is None or before is None else value - before if value >= before else value)
        before = before if value is None else value
    return found
