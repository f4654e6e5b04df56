"""A turn's way as a picture: an SVG of plain shapes that takes its colours from the page around it, or brings its own."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Final

from app.services.traces import Bar, Trace
from app.wire import hops

HEAD: Final = 30
APART: Final = 60
"""Least distance of two figures above the bars."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Where things stand in a picture, in units that are pixels where it is shown at its own size."""

    name: str
    width: int
    row: int
    left: int
    """Where bars begin; names stand before that, or above."""
    right: int
    """Room for the figure behind the longest bar."""
    margin: int
    """Where names begin."""
    bar: int
    """Where in its row a bar stands."""
    beside: bool
    """Whether where a part is spent stands beside its name, at the right edge, or below it."""

    @property
    def wide(self) -> int:
        """How long the axis is."""
        return self.width - self.left - self.right


WIDE: Final = Shape("wide", width=760, row=30, left=250, right=70, margin=12, bar=6, beside=False)
NARROW: Final = Shape("narrow", width=324, row=44, left=1, right=56, margin=0, bar=20, beside=True)
"""As wide as a phone's page has room for: names stand above their bars."""
KINDS: Final = {"llama.cpp": "engine", "node": "node", "queue": "wait"}
"""What a bar's colour says, by where the time was spent; everything else is a way."""
COLOURS: Final = """
.wf{--ink:#1f2421;--soft:#5a625c;--line:#dedbd0;--way:#8a9a8e;--node:#1a5d96;--engine:#2c6a45;--wait:#b4671d;--back:#fffefb}
@media(prefers-color-scheme:dark){.wf{--ink:#e7ebe6;--soft:#a0aaa3;--line:#2d3430;--way:#6d7a72;--node:#6fb0e6;--engine:#8ccf9f;--wait:#e39a55;--back:#1d2220}}
.wf text{font:13px system-ui,sans-serif;fill:var(--ink)}.wf .soft{fill:var(--soft);font-size:11px}.wf .grid{stroke:var(--line)}
.wf .way{fill:var(--way)}.wf .node{fill:var(--node)}.wf .engine{fill:var(--engine)}.wf .wait{fill:var(--wait)}.wf .back{fill:var(--back)}
"""


def duration(ms: float) -> str:
    """Return a time in the unit that suits it."""
    if ms < 10:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def places(trace: Trace, wide: float) -> Callable[[float], float]:
    """Return where a time lies on an axis of that width.

    Writing takes seconds and everything else milliseconds: where it is more than half of the whole, it gets a third of
    the axis, so that the rest can be seen.
    """
    total = max(trace.total, 0.001)
    long = max(trace.bars, key=lambda bar: bar.took, default=None)
    if long is None or long.took < total / 2 or long.took >= total:
        return lambda at: at * wide / total
    scale, begins, ends = wide * 2 / 3 / (total - long.took), long.begins, long.ends

    def place(at: float) -> float:
        inside = min(max(at - begins, 0.0), long.took)
        return min(at, begins) * scale + inside * wide / 3 / long.took + max(at - ends, 0.0) * scale

    return place


def svg(trace: Trace, shape: Shape = WIDE, *, alone: bool = False) -> str:
    """Draw a trace; `alone` for a file of its own, which then carries its colours for light and dark."""
    height = HEAD + shape.row * len(trace.bars) + 8
    place = places(trace, shape.wide)
    label = f"The way of a turn: {duration(trace.total)} in all"
    box = f'viewBox="0 0 {shape.width} {height}" role="img" aria-label="{label}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" class="wf {shape.name}" {box}>']
    if alone:
        parts.append(f'<style>{COLOURS}</style><rect class="back" width="{shape.width}" height="{height}" rx="12"/>')
    for at in _marks(trace, shape):
        x = shape.left + place(at)
        # The first one would else begin left of the picture where nothing stands before the bars.
        anchor = "middle" if x > APART / 2 else "start"
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD - 6}" y2="{height - 6}"/>')
        parts.append(f'<text class="soft" x="{x:.1f}" y="{HEAD - 12}" text-anchor="{anchor}">{duration(at)}</text>')
    for row, bar in enumerate(trace.bars):
        parts.append(_row(bar, shape, HEAD + row * shape.row, place))
    return "".join([*parts, "</svg>"])


def _row(bar: Bar, shape: Shape, y: int, place: Callable[[float], float]) -> str:
    """Draw one part of the way: its name, where it is spent, its bar and how long it took."""
    x = shape.left + place(bar.begins)
    wide = max(2.0, shape.left + place(bar.ends) - x)
    words = f"{bar.name}: {duration(bar.took)}, {bar.where}"
    where = f'x="{shape.width}" y="{y + 14}" text-anchor="end"' if shape.beside else f'x="{shape.margin}" y="{y + 26}"'
    return (
        f'<g><title>{escape(words)}</title><text x="{shape.margin}" y="{y + 14}">{escape(bar.name)}</text>'
        f'<text class="soft" {where}>{escape(bar.where)}</text>'
        f'<rect class="{KINDS.get(bar.where, "way")}" x="{x:.1f}" y="{y + shape.bar}" width="{wide:.1f}" height="16" rx="3"/>'
        f'<text class="soft" x="{x + wide + 5:.1f}" y="{y + shape.bar + 12}">{duration(bar.took)}</text></g>'
    )


def _marks(trace: Trace, shape: Shape) -> list[float]:
    """Return the times whose lines are drawn: the beginning, the first text, the last, the end."""
    found = [0.0]
    place = places(trace, shape.wide)
    for at in sorted({trace.hops.get(hop, 0.0) for hop in (hops.FIRST, hops.LAST)} | {trace.total}):
        if place(at) - place(found[-1]) > APART:
            found.append(at)
    return found
