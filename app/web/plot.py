"""A plot as SVG inside the page: plain shapes with classes, so that it takes the page's colours, light or dark."""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from math import ceil, floor, log10
from typing import Final

from markupsafe import Markup

from app.services.plots import Line, Plot

WIDTH: Final = 520
HEIGHT: Final = 190
LEFT: Final = 56
"""Room for figures such as 2.25k, also on a phone, where they are larger than the rest."""
RIGHT: Final = 10
TOP: Final = 12
BOTTOM: Final = 24
DOT: Final = "m-1.5 0a1.5 1.5 0 1 0 3 0a1.5 1.5 0 1 0-3 0"
"""Around a lone point: with the line's own width a dot of five units, which is seen where one of the first day stands alone."""


def number(value: float) -> str:
    """Return a figure in as few characters as tell it: 0.35, 12, 4.2k, 1.3M."""
    for limit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{sign}"
    return f"{value:.3g}"


def svg(plot: Plot, moments: Sequence[str]) -> Markup:
    """Draw a plot; each moment says its figures to who points at it, and the label says the latest to who listens."""
    top = _round_up(max((value for line in plot.lines for value in line.values if value is not None), default=0.0))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    step = wide / max(1, len(moments) - 1)

    def x(index: int) -> float:
        return LEFT + index * step

    def y(value: float) -> float:
        return TOP + high - value / top * high

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_told(plot))}">']
    for part in range(5):
        value = top * part / 4
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{number(value)}</text>')
    times = [datetime.fromisoformat(moment) for moment in moments]
    shape = "%H:%M" if times[-1].timestamp() - times[0].timestamp() <= 90_000 else "%d %b"
    for part in range(5):
        index = round((len(moments) - 1) * part / 4)
        anchor = "end" if part == 4 else "start" if part == 0 else "middle"
        parts.append(f'<text x="{x(index):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{times[index]:{shape}}</text>')
    for order, line in enumerate(plot.lines):
        points = [None if value is None else (x(index), y(value)) for index, value in enumerate(line.values)]
        parts.append(f'<path class="line line-{order % 5}" d="{_path(points)}"/>')
    for index, moment in enumerate(times):
        said = [f"{line.name} {number(one)}" for line in plot.lines if (one := line.values[index]) is not None]
        words = f"{moment:%d %b %H:%M} UTC: {', '.join(said)}" if said else f"{moment:%d %b %H:%M} UTC: nothing"
        parts.append(
            f'<rect class="hit" x="{x(index) - step / 2:.1f}" y="{TOP}" width="{step:.1f}" height="{high}">'
            f"<title>{escape(words)}</title></rect>"
        )
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704 - every word in it was escaped


def _path(points: list[tuple[float, float] | None]) -> str:
    """Return the line through the points, broken where there is none; a lone point is a dot."""
    words, pen = [], False
    for index, point in enumerate(points):
        if point is not None:
            words.append(f"{'L' if pen else 'M'}{point[0]:.1f} {point[1]:.1f}")
            following = points[index + 1] if index + 1 < len(points) else None
            if not pen and following is None:
                words.append(DOT)
        pen = point is not None
    return "".join(words)


def _round_up(value: float) -> float:
    """Return the round figure at or above a value that the axis ends at."""
    if value <= 0:
        return 1.0
    power: float = 10 ** floor(log10(value))
    return next(power * step for step in (1, 2, 3, 4, 5, 8, 10) if power * step >= value - 1e-12 * ceil(value))


def _told(plot: Plot) -> str:
    def last(line: Line) -> str:
        value = next((one for one in reversed(line.values) if one is not None), None)
        return f"{line.name} {'nothing' if value is None else number(value)}"

    unit = f", {plot.unit}" if plot.unit else ""
    return f"{plot.title}{unit}; latest: {', '.join(map(last, plot.lines))}"
