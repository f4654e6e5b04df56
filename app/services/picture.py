"""Plots as PNG pictures, by matplotlib: 40 MB that a process takes only when it is asked for one."""

import io
from datetime import datetime

import matplotlib as mpl
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from app.services.plots import Plot

mpl.use("Agg")
COLOURS = ("#8ccf9f", "#f3a67c", "#8cc3f2", "#cf9cec", "#e9df7b")
INK, SOFT, LINE, PAPER = "#e7ebe6", "#a0aaa3", "#2d3430", "#1d2220"
"""Discord is dark for most; the same green as the page's."""
LEGEND = 75
"""Characters for which there is room beside a title, the lines before them counted as five each."""


def draw(plots: list[Plot], moments: list[str], heading: str) -> bytes:
    """Return the plots below each other as a PNG."""
    times = [datetime.fromisoformat(moment) for moment in moments]
    figure = Figure(figsize=(8, 1.0 + 2.6 * max(1, len(plots))), dpi=110, facecolor=PAPER, layout="constrained")
    figure.suptitle(heading, color=INK, fontsize=13, x=0.02, ha="left")
    if not plots:
        figure.text(0.5, 0.4, "Nothing was measured in this time.", color=SOFT, ha="center")
    for row, plot in enumerate(plots):
        axes = figure.add_subplot(len(plots), 1, row + 1, facecolor=PAPER)
        axes.set_title(f"{plot.title}{f', {plot.unit}' if plot.unit else ''}", color=INK, fontsize=11, loc="left")
        for number, line in enumerate(plot.lines):
            values = [float("nan") if value is None else value for value in line.values]
            axes.plot(times, values, color=COLOURS[number % len(COLOURS)], linewidth=1.8, label=line.name)  # type: ignore[arg-type]  # Dates are taken.
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
        if axes.get_ylim()[1] >= 1000:
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))  # 40k, as the page has it.
        axes.grid(color=LINE, linewidth=0.8)
        axes.tick_params(colors=SOFT, labelsize=9)
        for spine in axes.spines.values():
            spine.set_visible(False)
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        if len(plot.lines) > 1:
            # Above the plot: what lies on the lines cannot be read.
            axes.legend(labelcolor=INK, frameon=False, fontsize=9, ncols=_columns(plot), loc="lower right", bbox_to_anchor=(1, 1))
    found = io.BytesIO()
    figure.savefig(found, format="png", facecolor=PAPER)
    return found.getvalue()


def _columns(plot: Plot) -> int:
    """Return how many names stand beside each other above a plot, and beside its title."""
    return max(1, min(5, LEGEND // (5 + max(len(line.name) for line in plot.lines))))
