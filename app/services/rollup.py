"""Summing figures up: five minutes from the rows, hours from those, days from hours, again wherever rows came late."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session as Transaction

from app.core.db import transaction
from app.core.models import MetricRollup, MetricSum, RollupMark, SampleRollup
from app.services import partitions
from app.services.buckets import BOUNDS

FINE_DAYS: Final = 3
"""How long sums of five minutes are kept: the page shows them for a day."""
HOUR_DAYS: Final = 400
"""How long sums of an hour are kept; those of a day stay."""
STEP: Final = timedelta(hours=6)
"""Summed in one transaction, so that each is short and a killed run has not worked for nothing."""
FINE: Final = {"metrics": ("metric_rollups", "metric_sums"), "samples": ("sample_rollups",)}
"""Which tables have sums of five minutes, by what they are made of."""
RUN_SECONDS: Final = 20
"""After so long the rest is left to the next run."""

_WORDS: Final = "node, model, lane, door, outcome"
_BUCKETS: Final = range(len(BOUNDS) + 1)
_BOUNDS: Final = f"array[{', '.join(f'{bound:.0f}' for bound in BOUNDS)}]::float8[]"


def _counts(column: str) -> str:
    return "array[" + ", ".join(f"count(*) filter (where {column} = {index})" for index in _BUCKETS) + "]::int[]"


def _sums(column: str) -> str:
    return "array[" + ", ".join(f"sum({column}[{index + 1}])" for index in _BUCKETS) + "]::int[]"


_FROM_ROWS: Final = f"""
insert into metric_rollups (span, at, {_WORDS}, turns, prompt_tokens, completion_tokens, busy_ms, speed_total,
  speed_turns, queue_counts, first_counts)
select 'm', moment, coalesce(node, ''), coalesce(model, ''), coalesce(lane, ''), door, outcome, count(*),
  coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), coalesce(sum(total_ms), 0),
  coalesce(sum(tokens_per_second), 0), count(tokens_per_second), {_counts("waited")}, {_counts("first")}
from (select *, date_bin('5 minutes', at, '2000-01-01+00') moment, width_bucket(queue_ms, {_BOUNDS}) waited,
  width_bucket(first_token_ms, {_BOUNDS}) first from metrics where at >= :since and at < :until) rows
group by moment, coalesce(node, ''), coalesce(model, ''), coalesce(lane, ''), door, outcome
"""  # noqa: S608 - made of our own words and figures, as are those below
_FROM_FINER: Final = f"""
insert into metric_rollups (span, at, {_WORDS}, turns, prompt_tokens, completion_tokens, busy_ms, speed_total,
  speed_turns, queue_counts, first_counts)
select :span, date_trunc(:unit, at, 'UTC'), {_WORDS}, sum(turns), sum(prompt_tokens), sum(completion_tokens),
  sum(busy_ms), sum(speed_total), sum(speed_turns), {_sums("queue_counts")}, {_sums("first_counts")}
from metric_rollups where span = :finer and at >= :since and at < :until
group by 2, {_WORDS}
"""  # noqa: S608
# Ready for the page: from the rows of all words at once, which are a hundred times as many, a day took over a second.
_PAGES: Final = f"""
insert into metric_sums (span, at, about, name, turns, failed, cancelled, prompt_tokens, completion_tokens, speed_total,
  speed_turns, queue_counts, first_counts)
select span, at, case grouping(node, model) when 3 then 'all' when 1 then 'node' else 'model' end, coalesce(node, model, ''),
  sum(turns), coalesce(sum(turns) filter (where outcome = 'failed'), 0),
  coalesce(sum(turns) filter (where outcome = 'cancelled'), 0), sum(prompt_tokens), sum(completion_tokens),
  sum(speed_total), sum(speed_turns), {_sums("queue_counts")}, {_sums("first_counts")}
from metric_rollups where span = :span and at >= :since and at < :until
group by span, at, grouping sets ((), (node), (model))
"""  # noqa: S608
_USAGE_HOURS: Final = """
insert into usage_rollups (span, user_id, at, turns, prompt_tokens, completion_tokens)
select 'h', user_id, date_trunc('hour', at, 'UTC'), count(*), coalesce(sum(prompt_tokens), 0),
  coalesce(sum(completion_tokens), 0)
from metrics where at >= :since and at < :until and user_id is not null group by 2, 3
"""
_USAGE_DAYS: Final = """
insert into usage_rollups (span, user_id, at, turns, prompt_tokens, completion_tokens)
select 'd', user_id, date_trunc('day', at, 'UTC'), sum(turns), sum(prompt_tokens), sum(completion_tokens)
from usage_rollups where span = 'h' and at >= :since and at < :until group by 2, 3
"""
_SAMPLES: Final = """
insert into sample_rollups (span, kind, subject, at, samples, total, most)
select 'm', kind, subject, date_bin('5 minutes', at, '2000-01-01+00'), count(*), sum(value), max(value)
from samples where at >= :since and at < :until group by 2, 3, 4
"""
_SAMPLES_FINER: Final = """
insert into sample_rollups (span, kind, subject, at, samples, total, most)
select :span, kind, subject, date_trunc(:unit, at, 'UTC'), sum(samples), sum(total), max(most)
from sample_rollups where span = :finer and at >= :since and at < :until group by 2, 3, 4
"""


def roll_up() -> int:
    """Bring every sum up to date, as far as time allows; return how many steps it took."""
    return _all("metrics", _metrics) + _all("samples", _samples)


def _all(name: str, step: Any) -> int:
    steps, until = 0, time.monotonic() + RUN_SECONDS
    while time.monotonic() < until and _step(name, step):
        steps += 1
    return steps


def _step(name: str, work: Any) -> bool:
    """Sum one step up; return whether there is more to do."""
    now = datetime.now(UTC)
    with transaction() as tx:
        # Locked: two at once would each write the same sums, and rows that come meanwhile set the mark back after us.
        mark = tx.scalar(select(RollupMark).where(RollupMark.name == name).with_for_update(skip_locked=True))
        if mark is None:
            return False
        kept = datetime.combine(partitions.oldest(), datetime.min.time(), UTC)
        since = max(mark.upto, kept).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        until = min(since.replace(hour=since.hour // 6 * 6) + STEP, now + timedelta(minutes=5))
        tx.execute(text("set local work_mem = '64MB'"))
        work(tx, since, until)
        if until < now - timedelta(days=FINE_DAYS):
            # They were the way to the hours. Left for `forget`, those of a month that is summed late are a million at once.
            for table in FINE[name]:
                _remove(tx, table, {"span": "m", "since": since, "until": until})
        reached = _floor(now)
        mark.upto = min(until, reached)
        return until < reached


def _floor(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 5 * 5, second=0, microsecond=0)


def _metrics(tx: Transaction, since: datetime, until: datetime) -> None:
    _replace(tx, "metric_rollups", "m", since, until, _FROM_ROWS)
    _replace(tx, "metric_rollups", "h", since, until, _FROM_FINER, unit="hour", finer="m")
    _replace(tx, "usage_rollups", "h", since, until, _USAGE_HOURS)
    day = since.replace(hour=0)
    _replace(tx, "metric_rollups", "d", day, day + timedelta(days=1), _FROM_FINER, unit="day", finer="h")
    for span, first, last in (("m", since, until), ("h", since, until), ("d", day, day + timedelta(days=1))):
        _replace(tx, "metric_sums", span, first, last, _PAGES)
    _replace(tx, "usage_rollups", "d", day, day + timedelta(days=1), _USAGE_DAYS)


def _samples(tx: Transaction, since: datetime, until: datetime) -> None:
    _replace(tx, "sample_rollups", "m", since, until, _SAMPLES)
    _replace(tx, "sample_rollups", "h", since, until, _SAMPLES_FINER, unit="hour", finer="m")
    day = since.replace(hour=0)
    _replace(tx, "sample_rollups", "d", day, day + timedelta(days=1), _SAMPLES_FINER, unit="day", finer="h")


def _replace(
    tx: Transaction, table: str, span: str, since: datetime, until: datetime, query: str, **more: str
) -> None:
    place = {"span": span, "since": since, "until": until}
    _remove(tx, table, place)
    tx.execute(text(query), place | more)


def _remove(tx: Transaction, table: str, place: dict[str, Any]) -> None:
    tx.execute(text(f"delete from {table} where span = :span and at >= :since and at < :until"), place)  # noqa: S608 - our own words


def forget() -> None:
    """Remove the fine sums whose time is over."""
    now = datetime.now(UTC)
    with transaction() as tx:
        for table in (MetricRollup, MetricSum, SampleRollup):
            for span, days in (("m", FINE_DAYS), ("h", HOUR_DAYS)):
                tx.execute(delete(table).where(table.span == span, table.at < now - timedelta(days=days)))
        # The hours of a person's usage serve limits of a day; their days stay.
        tx.execute(text("delete from usage_rollups where span = 'h' and at < now() - interval '35 days'"))
