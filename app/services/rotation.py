"""Changing the master key while everything runs: learnt by all, then used, then all sealed anew, then the old forgotten."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from cryptography.fernet import Fernet
from sqlalchemy import func, select

from app.core import keyfile, keys, redis
from app.core.broker import ask_relay, enqueue
from app.core.db import transaction
from app.core.models import Backup, KeyRotation, Node, Turn, now
from app.services import audit, reseal, reseal_objects
from app.wire import names
from app.wire.envelope import NodeKeys, Ring
from app.wire.states import Door, TurnState

log = structlog.get_logger(__name__)

MARKER: Final = "rotation"
"""A key's mark is that of the relay keys it would give to a node of this name."""
AT_A_TIME_SECONDS: Final = 2.0
"""How long one task goes on sealing before it makes room for others."""
AGAIN_SECONDS: Final = 60
"""How long a task that nobody took may lie about; the next look sends another."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rotation is."""

    phase: str
    """`learn`, `reseal`, `settle`, `check` or `done`."""
    total: int
    done: int
    lagging: tuple[str, ...]
    """Nodes that do not hold the new key yet."""
    here: bool
    """Whether one of those is here, and about to."""
    waiting: int
    """Turns that were begun under the old key."""
    over: bool = False
    """Whether all that is kept is sealed with the new key, and only a node is waited for."""


def begin(actor: str, door: Door) -> None:
    """Make a new key and let everybody learn it, or go on with a rotation that was interrupted."""
    keyfile.check()
    ring = keys.master()
    with transaction() as tx:
        row = tx.scalar(select(KeyRotation).where(KeyRotation.finished_at.is_(None)).with_for_update())
        if row is not None and row.mark in _marks(ring):
            return
        new = Ring.parse(Fernet.generate_key().decode())
        if row is None:
            row = KeyRotation()
            tx.add(row)
        row.mark, row.phase, row.begun_at = _marks(new)[0], "learn", now()
        audit.record(tx, actor, door, "keys.rotate", row.mark)
    # Only now: a rotation that was cut off before this line begins again, with another key.
    keyfile.write(Ring((*ring.keys, *new.keys)))
    remind()


def begin_by_hand(actor: str, door: Door) -> None:
    """Seal anew what older keys sealed, where the keys are kept in the environment and were put there by hand."""
    with transaction() as tx:
        if tx.scalar(select(KeyRotation).where(KeyRotation.finished_at.is_(None)).with_for_update()):
            return
        mark = _marks(keys.master())[0]
        tx.add(KeyRotation(mark=mark, phase="reseal", used_at=now(), total=_count(tx)))
        audit.record(tx, actor, door, "keys.reseal", mark)


def advance(*, push_on: bool = False) -> Progress:
    """Do what can be done now, and say how far it is; called until it is done.

    The new key is used once every node that is here has it; `push_on` does not wait for them any longer.
    """
    with transaction() as tx:
        row = tx.scalar(select(KeyRotation).order_by(KeyRotation.begun_at.desc()).limit(1).with_for_update())
        if row is None or row.phase == "done":
            return Progress("done", 0, 0, (), here=False, waiting=0)
        lagging, waiting = _lagging(tx), 0
        here = any(lagging.values())
        match row.phase:
            case "learn" if push_on or not here:
                keyfile.write(_led_by(keys.master(), row.mark))
                row.phase, row.used_at = "reseal", now()
                row.place, row.done, row.changed, row.total = {}, 0, 0, _count(tx)
            case "settle":
                waiting = _begun_before(tx, row.used_at or now())
                if not waiting:
                    row.phase, row.place, row.done, row.total = "check", {}, 0, _count(tx)
            case "check" if row.place.get("over") and not lagging:
                _forget_streams()
                if keyfile.ours():
                    keyfile.write(Ring(_led_by(keys.master(), row.mark).keys[:1]))
                row.phase, row.finished_at = "done", now()
                audit.record(tx, "platform", Door.CLI, "keys.retire", row.mark, resealed=row.changed)
        over = row.phase == "check" and "over" in row.place
        found = Progress(row.phase, row.total, row.done, tuple(lagging), here, waiting, over)
    if found.phase == "reseal" or found.phase == "check" and not over:
        enqueue(names.RESEAL, expires=AGAIN_SECONDS)
    remind()
    return found


def work() -> bool:
    """Seal anew for a moment, on the worker; say whether there is more."""
    until, walk = time.monotonic() + AT_A_TIME_SECONDS, reseal_objects.Walk()
    while time.monotonic() < until:
        with transaction() as tx:
            query = select(KeyRotation).where(KeyRotation.phase.in_(["reseal", "check"]))
            row = tx.scalar(query.with_for_update(skip_locked=True))
            if row is None or row.place.get("over"):
                return False
            place, seen, changed = _step(tx, row.place, walk)
            row.done, row.changed = row.done + seen, row.changed + changed
            row.place = place or {"over": True}
            if place is None:
                row.phase = "settle" if row.phase == "reseal" else row.phase
                return False
    return True


def _step(tx: Any, place: dict[str, Any], walk: reseal_objects.Walk) -> tuple[dict[str, Any] | None, int, int]:
    """Seal a batch of rows anew, or one object after all rows are; return where to go on, how many were seen and changed."""
    if "object" not in place:
        following, seen, changed = reseal.step(tx, place)
        return following or {"object": ""}, seen, changed
    name = walk.after(place["object"])
    if name is None:
        return None, 0, 0
    return {"object": name}, 1, int(reseal_objects.reseal(name))


def _count(tx: Any) -> int:
    return reseal.count(tx) + sum(1 for _ in reseal_objects.names())


def remind() -> None:
    """Hand the keys to every node that is here and does not hold exactly those that hold now."""
    with transaction() as tx:
        known = list(tx.execute(select(Node.name, Node.discord_id).where(Node.removed_at.is_(None))))
    for name, bot in known:
        has = keys.held(name)
        if not has or has == NodeKeys.of(keys.master(), name).marks:
            continue
        log.info("keys.handed", node=name)
        redis.client().publish(names.node_control(name), f"keys {keys.hand_over(name)}")
        if bot is not None and redis.client().hget(names.node_key(name), "lane") == b"discord":
            ask_relay(names.POST_CONTROL, "keys", name, None, at=int(time.time() * 1000), expires=AGAIN_SECONDS)


def _lagging(tx: Any) -> dict[str, bool]:
    """Return the nodes that do not hold the newest key, and whether each is here."""
    found = {}
    for name in tx.scalars(select(Node.name).where(Node.removed_at.is_(None)).order_by(Node.name)):
        has = keys.held(name)
        if not set(NodeKeys.of(keys.master(), name).marks) <= set(has):
            found[name] = bool(has)
    return found


def _begun_before(tx: Any, moment: datetime) -> int:
    """Count the turns and backups of before a moment that have not ended: something of them is sealed with the old key."""
    unfinished = Turn.state.in_([TurnState.QUEUED.value, TurnState.RUNNING.value])
    turns = tx.scalar(select(func.count()).select_from(Turn).where(unfinished, Turn.created_at < moment)) or 0
    # A backup that was begun with the old key goes on with it to its end.
    begun = select(func.count()).select_from(Backup).where(Backup.state == "running", Backup.asked_at < moment)
    return turns + (tx.scalar(begun) or 0)


def _forget_streams() -> None:
    """Remove the streams of closed turns: their events would not open any more, and PostgreSQL has their text."""
    client = redis.client()
    for key in client.scan_iter(match=names.turn_stream("*"), count=500):
        turn = key.decode().removeprefix(names.turn_stream(""))
        if client.hget(names.turn_meta(turn), "closed"):
            client.delete(key)


def _marks(ring: Ring) -> tuple[str, ...]:
    return NodeKeys.of(ring, MARKER).marks


def _led_by(ring: Ring, mark: str) -> Ring:
    first = _marks(ring).index(mark)
    return Ring((ring.keys[first], *(key for place, key in enumerate(ring.keys) if place != first)))
