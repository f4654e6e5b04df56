"""What the platform does now, what it did, and the way of one turn: the panels of whoever looks after it."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

from app.core import presence
from app.services import condition, metrics, nodes, plots, samples, traces, waterfall
from app.services.accounts import Person
from app.services.rights import Right
from app.web import panels, plot
from app.web.deps import Known, needs
from app.wire.states import Door

router = APIRouter(include_in_schema=False)
SPANS: Final = {1: "1 hour", 24: "24 hours", 168: "7 days", 720: "30 days"}
Hours = Annotated[int, Query(ge=1, le=720)]


def _overview() -> dict[str, Any]:
    return {
        "nodes": nodes.listed(),
        "gigabytes": condition.gigabytes,
        "queues": samples.queues(),
        "processes": presence.processes(),
        "total": metrics.summary(24)["total"],
    }


@router.get("/admin", response_class=HTMLResponse)
async def overview(request: Request, who: Annotated[Person, needs(Right.SEE_METRICS)]) -> Response:
    """Show nodes, queue and processes as they are now."""
    return panels.show(request, who, "overview.html", number=plot.number, **await asyncio.to_thread(_overview))


def _metrics(hours: int) -> dict[str, Any]:
    found = metrics.summary(hours)
    pictures = [(one, plot.svg(one, found["moments"])) for one in plots.every(found)]
    return {"found": found, "pictures": pictures, "spans": SPANS}


@router.get("/admin/metrics", response_class=HTMLResponse)
async def figures(request: Request, who: Annotated[Person, needs(Right.SEE_METRICS)], hours: Hours = 24) -> Response:
    """Show plots and tables of the last hours."""
    shown = await asyncio.to_thread(_metrics, min((span for span in SPANS if span >= hours), default=720))
    return panels.show(request, who, "metrics.html", number=plot.number, **shown)


@router.get("/trace/{turn}", response_class=HTMLResponse)
async def trace(request: Request, turn: str, who: Known) -> Response:
    """Show the way of one's own turn; of any turn to who may see the figures."""
    found = await asyncio.to_thread(traces.of, turn, None if who.may(Right.SEE_METRICS) else who.id)
    await asyncio.to_thread(traces.looked_at, turn, who.id, who.name, Door.WEB)
    # Both shapes: which one is shown, the page's width decides.
    drawn = [Markup(waterfall.svg(found, shape)) for shape in (waterfall.WIDE, waterfall.NARROW)]  # noqa: S704 - our own words and figures
    return panels.show(request, who, "trace.html", trace=found, pictures=drawn, duration=waterfall.duration)
