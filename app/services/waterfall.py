"""A turn's way as a picture: an SVG of plain shapes that takes its colours from the page around it, or brings its own."""

from html import escape
from math import floor, log10
from typing import Final

from app.services.traces import Trace

WIDTH: Final = 760
ROW: Final = 30
LEFT: Final = 250
"""Where bars begin; names stand before that."""
RIGHT: Final = 70
"""Room for the figure behind the longest bar."""
HEAD: Final = 30
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


def svg(trace: Trace, *, alone: bool = False) -> str:
    """Draw a trace; `alone` for a file of its own, which then carries its colours for light and dark."""
    height = HEAD + ROW * len(trace.bars) + 8
    total = max(trace.total, 0.001)
    scale = (WIDTH - LEFT - RIGHT) / total
    label = f"The way of a turn: {duration(total)} in all"
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" class="wf" {box}>']
    if alone:
        parts.append(f'<style>{COLOURS}</style><rect class="back" width="{WIDTH}" height="{height}" rx="12"/>')
    step = _step(total)
    for index in range(int(total / step) + 1):
        x = LEFT + index * step * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD - 6}" y2="{height - 6}"/>')
        parts.append(f'<text class="soft" x="{x:.1f}" y="{HEAD - 12}" text-anchor="middle">{duration(index * step)}</text>')
    for row, bar in enumerate(trace.bars):
        y = HEAD + row * ROW
        x, wide = LEFT + bar.begins * scale, max(2.0, bar.took * scale)
        words = f"{bar.name}: {duration(bar.took)}, {bar.where}"
        parts.append(
            f'<g><title>{escape(words)}</title><text x="12" y="{y + 14}">{escape(bar.name)}</text>'
            f'<text class="soft" x="12" y="{y + 26}">{escape(bar.where)}</text>'
            f'<rect class="{KINDS.get(bar.where, "way")}" x="{x:.1f}" y="{y + 6}" width="{wide:.1f}" height="16" rx="3"/>'
            f'<text class="soft" x="{x + wide + 5:.1f}" y="{y + 18}">{duration(bar.took)}</text></g>'
        )
    return "".join([*parts, "</svg>"])


def _step(total: float) -> float:
    """Return the distance of the grid's lines: a round figure, so that there are three to eight of them."""
    power: float = 10 ** floor(log10(total))
    return next(power * part for part in (0.2, 0.5, 1) if total / (power * part) <= 6)
