"""The nodes: which there are, what they say of themselves, how they come and go."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session as Transaction

from app.core import redis
from app.core.broker import enqueue
from app.core.db import transaction
from app.core.models import Node, now
from app.services import audit
from app.wire import names
from app.wire.errors import BadInput, NotFound, Unavailable
from app.wire.states import Door, Lane

_HELLO: Final = """
-- KEYS: node   ARGV: ttl seconds, whether it says that it reaches the broker, field, value...
-- A node that reaches the broker beats there, and is given its turns there: its word in Discord then changes nothing.
local before = redis.call('HMGET', KEYS[1], 'lane', 'state')
if before[1] == 'queue' and ARGV[2] == '1' then return before[2] end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return before[2] or ''
"""


MOST_SLOTS: Final = 4096
"""What a node may say at most: the queue is played through slot by slot to tell people when it is their turn."""
WORD_LENGTH: Final = 300
"""Characters of a word of a node's that are looked at."""
FARTHEST: Final = 1e15
"""A petabyte: no figure of a machine's lies beyond it, and none of those that do has a place in a page's JSON."""
DRAINING: Final = "draining"
MACHINE: Final = ("memory", "resident", "free", "battery", "plugged", "heat")
"""What a node says of its machine: figures, each left out where its system does not tell."""
COUNTED: Final = ("restarts", "discord_wait")
"""What a node has counted since its start: restarts of its engine, seconds that it waited for Discord's limits."""


_LEAVING: Final = """
-- KEYS: node   ARGV: its state from now on
-- Only while it is known: a key made here would never run out.
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'state', ARGV[1]) end
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A node as the page and `status` show it."""

    name: str
    lane: str
    slots: int
    busy: int
    state: str
    """`ready`, `starting`, `degraded`, `failed`, `draining` as the node says itself, or `away`."""
    model: str | None
    tokens_per_second: float | None
    error: str | None = None
    memory: int | None = None
    """Bytes of the node's process and its engine together."""
    free: int | None = None
    """Bytes that are left on its machine."""
    battery: int | None = None
    """Percent; None where there is none."""
    plugged: bool | None = None
    heat: float | None = None
    """Degrees Celsius of its warmest sensor; None where its system does not tell."""


def register(name: str, slots: int, lane: str = "queue") -> None:
    """Make a node known, or change what is known of it."""
    if not names.NODE_NAME.fullmatch(name):
        raise BadInput("A node's name is made of small letters, digits and dashes, 31 at most.")
    with transaction() as tx:
        node = tx.scalar(select(Node).where(Node.name == name))
        if node is not None and node.removed_at is not None:
            raise BadInput(f"A node {name!r} was removed, and its keys with it: give this one another name.")
        if node is None:
            tx.add(Node(name=name, slots=slots, lane=lane))
            audit.record(tx, "setup", Door.CLI, "node.add", name, slots=slots, lane=lane)
        else:
            node.slots, node.lane = slots, lane
        tx.flush()
        remember(tx)


def remember(tx: Transaction) -> None:
    """Write into Redis which nodes there are, and into PostgreSQL when each was last heard."""
    client = redis.client()
    known = list(tx.scalars(select(Node).where(Node.removed_at.is_(None))))
    if not known:
        return
    client.sadd(names.NODES, *[node.name for node in known])
    with client.pipeline(transaction=True) as pipe:
        for node in known:
            (pipe.sadd if node.draining else pipe.srem)(names.DRAINING, node.name)
        pipe.execute()
    with client.pipeline(transaction=False) as pipe:
        for node in known:
            pipe.exists(names.node_key(node.name))
        for node, here in zip(known, pipe.execute(), strict=True):
            if here:
                node.seen_at = now()


def introduce(name: str, discord_id: int) -> None:
    """Keep under which user id a node's Client-Bot writes in Discord; only what that user writes is believed."""
    with transaction() as tx:
        node = tx.scalar(select(Node).where(Node.name == name))
        if node is None:
            raise NotFound(f"There is no node {name!r}; `meatlizard status` lists them.")
        if node.discord_id == discord_id:
            return
        # A bot that is given to another node is that one's alone.
        tx.execute(update(Node).where(Node.discord_id == discord_id).values(discord_id=None))
        audit.record(tx, "setup", Door.CLI, "node.introduce", name, discord_id=discord_id)
        node.discord_id = discord_id


def drain(name: str, actor: str, door: Door) -> None:
    """Give a node no more turns; what it has at work, it ends."""
    _set_draining(name, True, actor, door)


def undrain(name: str, actor: str, door: Door) -> None:
    """Give a node turns again."""
    _set_draining(name, False, actor, door)
    enqueue(names.DISPATCH)


def _set_draining(name: str, draining: bool, actor: str, door: Door) -> None:
    with transaction() as tx:
        node = tx.scalar(select(Node).where(Node.name == name, Node.removed_at.is_(None)))
        if node is None:
            raise NotFound(f"There is no node {name!r}; `meatlizard node list` names them.")
        if node.draining != draining:
            audit.record(tx, actor, door, "node.drain" if draining else "node.undrain", name)
        node.draining = draining
        tx.flush()
        remember(tx)


def bots() -> dict[int, str]:
    """Return the node of each Client-Bot's user id."""
    with transaction() as tx:
        query = select(Node.discord_id, Node.name).where(Node.discord_id.is_not(None))
        return {identity: name for identity, name in tx.execute(query) if identity is not None}


@cache
def _hello() -> Any:
    return redis.client().register_script(_HELLO)


def hello(name: str, said: Mapping[str, Any]) -> str:
    """Write the beat of a node that speaks through Discord; return the state it is in now."""
    state = str(said.get("state") or "away")
    beat = {
        "state": state,
        "slots": max(0, int(said.get("slots") or 0)),
        "lane": Lane.DISCORD.value,
        "model": said.get("model") or "",
        "tokens_per_second": said.get("tokens_per_second") or "",
        "error": said.get("error") or "",
        "keys": str(said.get("keys") or ""),
        **{name: float(said[name]) for name in (*MACHINE, *COUNTED) if isinstance(said.get(name), int | float)},
    }
    fields = [str(part) for pair in beat.items() for part in pair]
    before = _hello()(keys=[names.node_key(name)], args=[names.DISCORD_NODE_TTL_SECONDS, int(bool(said.get("broker", True))), *fields])
    if state == "ready" and before != b"ready":
        enqueue(names.DISPATCH)
    return state


@cache
def _leaving() -> Any:
    return redis.client().register_script(_LEAVING)


def leaving(name: str) -> None:
    """Give a node nothing more until it says that it is ready: it has handed a turn on because it goes down.

    What it says of that itself may come later: in Discord, each channel is heard for itself.
    """
    _leaving()(keys=[names.node_key(name)], args=[DRAINING])


def models() -> list[str]:
    """Return the models that nodes have right now, each once."""
    client = redis.client()
    with client.pipeline(transaction=False) as pipe:
        for name in client.smembers(names.NODES):
            pipe.hget(names.node_key(name.decode()), "model")
        return sorted({model.decode(errors="replace")[:WORD_LENGTH] for model in pipe.execute() if model})


def must_have(model: str) -> None:
    """Raise BadInput where no node that is there has a model: nobody is to wait for it for ever."""
    try:
        there = models()
    except redis.ERRORS as error:
        raise Unavailable from error
    if model not in there:
        raise BadInput(f"No node has the model {model!r} now. There are: {', '.join(there) or 'none'}.")


def listed() -> list[Shown]:
    """Return every node and how it is right now."""
    with transaction() as tx:
        known = list(tx.scalars(select(Node).where(Node.removed_at.is_(None)).order_by(Node.name)))
    client = redis.client()
    with client.pipeline(transaction=False) as pipe:
        for node in known:
            pipe.hgetall(names.node_key(node.name))
            pipe.scard(names.node_leases(node.name))
        answers = pipe.execute()
    return [_shown(node, beat, busy) for node, beat, busy in zip(known, answers[::2], answers[1::2], strict=True)]


def _shown(node: Node, beat: dict[bytes, bytes], busy: int) -> Shown:
    # A node writes there what it likes, and may be a stolen one: no word of it may keep the others from being shown.
    said = {key.decode(errors="replace"): value.decode(errors="replace")[:WORD_LENGTH] for key, value in beat.items()}
    speed = _figure(said.get("tokens_per_second", ""))
    state = said.get("state", "away")
    return Shown(
        node.name,
        said.get("lane", node.lane),
        slots(beat.get(b"slots"), node.slots),
        busy,
        DRAINING if node.draining and state == "ready" else state,
        said.get("model"),
        speed or None,
        said.get("error"),
        **_machine(said),
    )


def slots(said: bytes | None, known: int = 0) -> int:
    """Return how many slots a node says that it has; what is no such number counts as none."""
    try:
        return min(MOST_SLOTS, max(0, int(said if said is not None else known)))
    except ValueError:
        return 0


def _figure(said: str) -> float | None:
    """Return a number that a node wrote; None for what is none, which must not keep the others from being shown."""
    try:
        figure = float(said)
    except ValueError:
        return None
    return figure if abs(figure) < FARTHEST else None


def _machine(said: Mapping[str, str]) -> dict[str, Any]:
    told = {name: figure for name in MACHINE if (figure := _figure(said.get(name, ""))) is not None}
    both = told.get("memory", 0) + told.get("resident", 0)
    return {
        "memory": int(both) if both else None,
        "free": int(told["free"]) if "free" in told else None,
        "battery": int(told["battery"]) if "battery" in told else None,
        "plugged": bool(told["plugged"]) if "plugged" in told else None,
        "heat": told.get("heat"),
    }
