"""A turn's way as a waterfall: which part of it took how long, from the stamps that every hop made."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.core.db import transaction
from app.core.models import Turn
from app.services import audit, metrics, sessions
from app.wire import hops
from app.wire.errors import NotFound
from app.wire.states import Door


@dataclass(frozen=True, slots=True)
class Bar:
    """One part of the way, in milliseconds from the first stamp on."""

    name: str
    where: str
    begins: float
    ends: float

    @property
    def took(self) -> float:
        """How long it took; never below zero, however far clocks are apart."""
        return max(0.0, self.ends - self.begins)


@dataclass(frozen=True, slots=True)
class Trace:
    """One turn's way; `hops` are the stamps in milliseconds from the first one."""

    turn: str
    session: str
    state: str
    attempt: int
    lane: str | None
    node: str | None
    model: str | None
    door: str
    began: str
    bars: list[Bar]
    hops: dict[str, float]

    @property
    def total(self) -> float:
        """Milliseconds from the first stamp to the last."""
        return max([bar.ends for bar in self.bars], default=0.0)

    def dump(self) -> dict[str, Any]:
        """Return it as one object of plain values."""
        bars = [
            {"name": bar.name, "where": bar.where, "begins_ms": round(bar.begins, 1), "took_ms": round(bar.took, 1)}
            for bar in self.bars
        ]
        return asdict(self) | {"bars": bars, "total_ms": round(self.total, 1)}


def of(turn: str, user: str | None = None) -> Trace:
    """Return a turn's way; with `user` only where it is that person's own. Raise NotFound otherwise."""
    metrics.drain()  # What the page said at the end may still wait with the other figures.
    with transaction() as tx:
        row = tx.get(Turn, sessions.parse_id(turn))
        if row is None or (user is not None and row.user_id != UUID(user)):
            raise NotFound("There is no such turn here; `meatlizard chat --json` and the details below a reply name them.")
        return _trace(row)


def looked_at(turn: str, who: str, actor: str, door: Door) -> None:
    """Record that somebody looked at the way of another's turn; at one's own nobody minds."""
    with transaction() as tx:
        row = tx.get(Turn, sessions.parse_id(turn))
        if row is not None and str(row.user_id) != who:
            audit.record(tx, actor, door, "turn.trace", str(row.id))


def _trace(row: Turn) -> Trace:
    stamps = _stamps(row)
    zero = min(stamps.values())
    since = {hop: round(at - zero, 1) for hop, at in sorted(stamps.items(), key=lambda pair: pair[1])}
    began = datetime.fromtimestamp(zero / 1000, row.created_at.tzinfo).isoformat()
    return Trace(
        str(row.id), str(row.session_id), row.state, row.attempt, row.lane, row.node, row.model, row.door, began,
        bars(since), since,
    )  # fmt: skip


def _stamps(row: Turn) -> dict[str, float]:
    """Return the stamps; what PostgreSQL knows stands in where an attempt ended without telling."""
    stamps = {hops.KEPT: _ms(row.created_at)}
    if row.leased_at:
        stamps[hops.LEASED] = _ms(row.leased_at)
    if row.finished_at:
        stamps[hops.ENDED] = _ms(row.finished_at)
    return stamps | hops.sound(row.hops or {})


def _ms(moment: datetime) -> float:
    return moment.timestamp() * 1000


def bars(since: dict[str, float]) -> list[Bar]:
    """Return the parts of the way whose two ends were stamped, in the order in which they happen."""
    found = []
    for step in hops.STEPS:
        begins = next((since[hop] for hop in step.begins if hop in since), None)
        ends = next((since[hop] for hop in step.ends if hop in since), None)
        if begins is not None and ends is not None:
            found.append(Bar(step.name, step.where, begins, max(begins, ends)))
    return found
