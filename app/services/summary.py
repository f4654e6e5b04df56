"""What the last hours were like, from the sums: totals, how they went over time, and who and what stood out."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import text

from app.core.db import transaction
from app.services import usage
from app.services.buckets import BOUNDS, quantile

SPANS: Final = {1: ("m", 5), 24: ("m", 15), 168: ("h", 120), 720: ("d", 1440)}
"""For so many hours: the sums that are read, and the minutes of one point of a plot."""

_SUMS: Final = ", ".join(
    f"sum({column}[{index + 1}])" for column in ("queue_counts", "first_counts") for index in range(len(BOUNDS) + 1)
)
_WHAT: Final = (
    "sum(turns), sum(failed), sum(cancelled), sum(prompt_tokens), sum(completion_tokens), sum(speed_total), sum(speed_turns)"
)


def span(hours: int) -> tuple[str, int]:
    """Return which sums show so many hours, and the minutes of a point."""
    return SPANS[min((one for one in SPANS if one >= hours), default=720)]


def of(hours: int) -> dict[str, Any]:
    """Return totals, series over time, and tables by node, model and person; times in ms, about a minute behind."""
    letter, minutes = span(hours)
    since = _floor(datetime.now(UTC) - timedelta(hours=hours), minutes)
    moments = [since + timedelta(minutes=minutes) * count for count in range(hours * 60 // minutes + 1)]
    place = {"span": letter, "since": since, "width": f"{minutes} minutes"}
    by_moment: dict[datetime, dict[str, Any]] = {}
    named: dict[str, list[dict[str, Any]]] = {"all": [], "node": [], "model": []}
    with transaction() as tx:
        for about, moment, name, *figures in tx.execute(_QUERY, place):
            if moment is not None:
                by_moment[moment] = _facts(figures)
            else:
                named[about].append({"name": name or "none", **_facts(figures)})
        samples = tx.execute(_SAMPLES, place).all()
    empty = _facts([0] * (7 + 2 * (len(BOUNDS) + 1)))
    return {
        "hours": hours,
        "minutes": minutes,
        "moments": [moment.isoformat() for moment in moments],
        "total": next(iter(named["all"]), empty),
        "series": [by_moment.get(moment, empty) for moment in moments],
        "nodes": named["node"],
        "models": named["model"],
        "people": [asdict(one) for one in usage.most(hours, 10)],
        "samples": _lines(samples, moments),
    }


_QUERY: Final = text(
    f"select about, moment, name, {_WHAT}, {_SUMS} from (select *, "  # noqa: S608 - our own words
    "date_bin(cast(:width as interval), at, :since) moment from metric_sums where span = :span and at >= :since) sums "
    "group by grouping sets ((about, moment), (about, name)) having grouping(moment) = 1 or about = 'all' "
    "order by sum(turns) desc"
)


_SAMPLES: Final = text(
    "select kind, subject, date_bin(cast(:width as interval), at, :since), sum(total) / sum(samples) from sample_rollups "
    "where span = :span and at >= :since group by 1, 2, 3"
)


def _facts(row: Sequence[Any]) -> dict[str, Any]:
    turns, failed, cancelled, prompt, completion, speed, measured, *counts = row
    cut = len(BOUNDS) + 1
    waits, firsts = ([int(count or 0) for count in part] for part in (counts[:cut], counts[cut:]))
    return {
        "turns": int(turns or 0),
        "failed": int(failed or 0),
        "cancelled": int(cancelled or 0),
        "prompt_tokens": int(prompt or 0),
        "completion_tokens": int(completion or 0),
        "tokens_per_second": speed / measured if measured else None,
        "queue_p50": quantile(waits, 0.5),
        "queue_p95": quantile(waits, 0.95),
        "first_p50": quantile(firsts, 0.5),
        "first_p95": quantile(firsts, 0.95),
    }


def _lines(rows: Any, moments: list[datetime]) -> dict[str, dict[str, list[float | None]]]:
    """Return the samples as one line a thing, with None where nothing was measured."""
    place = {moment: index for index, moment in enumerate(moments)}
    lines: dict[str, dict[str, list[float | None]]] = {}
    for kind, subject, moment, value in rows:
        if moment in place:
            line = lines.setdefault(kind, {}).setdefault(subject, [None] * len(moments))
            line[place[moment]] = float(value)
    return lines


def _floor(moment: datetime, minutes: int) -> datetime:
    step = minutes * 60
    return datetime.fromtimestamp(moment.timestamp() // step * step, UTC)
