"""The figures of finished turns; never any text. They are put into a Redis stream and taken from there in batches."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy import Float, Integer, bindparam, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from app.core import redis
from app.core.db import transaction
from app.core.models import Metric, RollupMark, Sample, Turn
from app.services import partitions, plots
from app.services import summary as summing
from app.wire import names
from app.wire.errors import BadInput
from app.wire.figures import figure, whole

log = structlog.get_logger(__name__)

BATCH: Final = 2000
"""Entries taken at once: more is no faster, and each is held in memory."""
STREAM_ENTRIES: Final = 1_000_000
"""Entries kept while no worker takes any, about 300 MB; the oldest go first, and turns are mended from their rows."""
AHEAD: Final = timedelta(days=1)
"""How far another machine's clock may be ahead of ours."""
MEND_HOURS: Final = 48
"""How far back turns are looked for whose figures never came: a Redis that was emptied had them."""


def put(kind: str, row: Mapping[str, Any]) -> None:
    """Leave figures (`turn`, `sample` or `hops`) for the next batch; without Redis they are mended from the turn's row."""
    put_all(kind, [row])


def put_all(kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Do so for several at once."""
    try:
        with redis.client().pipeline(transaction=False) as pipe:
            for row in rows:
                pipe.xadd(names.FIGURES, entry(kind, row), maxlen=STREAM_ENTRIES, approximate=True)
            pipe.execute()
    except redis.ERRORS as error:
        log.warning("figures.lost", kind=kind, error=str(error))


def entry(kind: str, row: Mapping[str, Any]) -> dict[Any, Any]:
    """Return figures as an entry of the stream, for those who write it themselves."""
    return {kind: orjson.dumps(row)}


def drain() -> int:
    """Write what waits in the stream into PostgreSQL; return how many entries there were.

    An entry is removed only after its batch is committed, and by its own id: killed in between, or run twice at once,
    it is written again and PostgreSQL keeps the first.
    """
    client, taken = redis.client(), 0
    while page := client.xrange(names.FIGURES, count=BATCH):
        rows: dict[str, list[Any]] = {}
        for _, fields in page:
            for kind, raw in fields.items():
                try:
                    rows.setdefault(kind.decode(), []).append(orjson.loads(raw))
                except ValueError:  # Nothing of ours; left there it would hold up all that comes after it.
                    log.error("figures.refused", kind="unknown", error="no JSON")
        for kind, found in rows.items():
            _write(kind, found)
        client.xdel(names.FIGURES, *(identity for identity, _ in page))
        taken += len(page)
    return taken


def _write(kind: str, rows: list[dict[str, Any]]) -> None:
    try:
        _KINDS[kind](rows)
    except (KeyError, ValueError, TypeError, SQLAlchemyError) as error:
        if len(rows) > 1:
            # One that cannot be kept may not hold up the others, nor all that come after it.
            for row in rows:
                _write(kind, [row])
        else:
            log.error("figures.refused", kind=kind, error=type(error).__name__)


def waiting() -> int:
    """Return how many entries wait to be written."""
    return int(redis.client().xlen(names.FIGURES))


def log_turns(rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep turns' figures; the same turn and attempt twice is kept once, and one that is too old not at all."""
    _keep(Metric, [dict(row) for row in rows], "metrics")


def log_samples(rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep samples; the same kind, subject and moment twice is kept once."""
    _keep(Sample, [dict(row) for row in rows], "samples")


def _keep(table: type[Metric | Sample], rows: list[dict[str, Any]], mark: str) -> None:
    first = datetime.combine(partitions.oldest(), datetime.min.time(), UTC)
    # Each day has a table of its own: whoever can write to Redis shall not have us make one for each day to come.
    last = datetime.now(UTC) + AHEAD
    for row in rows:
        row["at"] = row["at"] if isinstance(row["at"], datetime) else datetime.fromisoformat(row["at"])
    rows = [_sound(table, row) for row in rows if first <= row["at"] < last]
    if not rows:
        return
    partitions.ensure(table.__tablename__, {row["at"].astimezone(UTC).date() for row in rows})
    earliest = min(row["at"] for row in rows)
    with transaction() as tx:
        tx.execute(insert(table).on_conflict_do_nothing(), rows)
        # What was summed up to now lacks these rows: the sums are made again from the earliest on.
        mark_back = insert(RollupMark).values(name=mark, upto=earliest)
        least = text("least(rollup_marks.upto, excluded.upto)")
        tx.execute(mark_back.on_conflict_do_update(index_elements=["name"], set_={"upto": least}))


def _sound(table: type[Metric | Sample], row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with every figure one that has a sum; raise ValueError where it is nothing without it.

    Whoever can write to Redis says what was measured, and nodes what they measured: two figures too large to be added
    would fail whoever sums them up, again and again for as long as the rows are kept.
    """
    columns = table.__table__.columns
    found = dict(row)
    for name, value in row.items():
        kind = columns[name].type if name in columns and value is not None else None
        if isinstance(kind, Integer):
            found[name] = whole(value)
        elif isinstance(kind, Float):
            found[name] = figure(value)
            if found[name] is None and not columns[name].nullable:
                raise ValueError(name)
    return found


def _add_hops(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    # What stands there already was stamped first.
    hops = text("cast(:more as jsonb) || coalesce(turns.hops, '{}'::jsonb)")
    query = update(Turn).where(Turn.id == bindparam("turn_id")).values(hops=hops)
    made = [{"turn_id": UUID(row["turn"]), "more": orjson.dumps(row["hops"]).decode()} for row in rows]
    with transaction() as tx:
        # In one order, as whoever ends turns locks them: two of these at once never wait for each other.
        tx.connection().execute(query, sorted(made, key=itemgetter("turn_id")))


def summary(hours: int) -> dict[str, Any]:
    """Return what the last `hours` hours were like; see app.services.summary."""
    return summing.of(hours)


def picture(kind: str, hours: int) -> bytes:
    """Return a plot (a kind of app.services.plots, or `all`) of the last `hours` hours as a PNG; BadInput for another kind."""
    found = summing.of(hours)
    if kind != "all" and kind not in plots.TITLES:
        raise BadInput(f"There is no plot {kind!r}. There are: all, {', '.join(plots.TITLES)}.")
    # Here, since matplotlib takes 40 MB that only a process which draws shall have.
    from app.services import picture as drawing

    shown = plots.every(found) if kind == "all" else [plots.plot(kind, found)]
    times = {1: "The last hour", 24: "The last 24 hours", 168: "The last 7 days", 720: "The last 30 days"}
    return drawing.draw(shown, found["moments"], times.get(hours, f"The last {hours} hours"))


_KINDS: Final = {"turn": log_turns, "sample": log_samples, "hops": _add_hops}

_MISSING: Final = text(
    """
    select t.id turn_id, t.attempt, t.finished_at at, t.user_id, t.state outcome, t.door, t.lane, t.node, t.model,
      extract(epoch from coalesce(t.leased_at, t.finished_at) - t.created_at)::float * 1000 queue_ms,
      extract(epoch from t.finished_at - t.leased_at)::float * 1000 total_ms,
      t.prompt_tokens, t.completion_tokens, t.tokens_per_second
    from turns t left join metrics m on m.turn_id = t.id and m.attempt = t.attempt and m.at = t.finished_at
      and m.at between :since and :until
    where t.finished_at between :since and :until and m.turn_id is null
    order by t.finished_at limit :most
    """
)


def mend() -> int:
    """Keep, from their rows, the figures of turns whose own never came; return how many."""
    now = datetime.now(UTC)
    since, until = now - timedelta(hours=MEND_HOURS), now - timedelta(minutes=2)
    place = {"since": since, "until": until, "most": BATCH}
    mended = 0
    while True:
        with transaction() as tx:
            rows = [dict(row) for row in tx.execute(_MISSING, place).mappings()]
        log_turns(rows)
        mended += len(rows)
        if len(rows) < BATCH:
            return mended
