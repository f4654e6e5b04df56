"""Which channel in Discord belongs to what, how far it was read, and which one makes room when there are too many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.core.db import transaction
from app.core.models import Channel, Session, Turn, new_id, now
from app.services import sessions, transcripts
from app.wire.states import Lane, TurnState

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """A channel of ours and what it is for: a session, or a node."""

    id: str
    session: str | None
    node: str | None
    discord_id: int | None
    handled: int

    @property
    def name(self) -> str:
        """The channel's name in Discord."""
        return f"node-{self.node}" if self.node else f"s-{str(self.session).replace('-', '')[:12]}"

    @property
    def topic(self) -> str:
        """What its channel says of itself; names may collide, this does not."""
        return f"MeatLizard node {self.node}" if self.node else f"MeatLizard session {self.session}"


def of_session(session: str) -> Place | None:
    """Return the place of a session, made if need be; None where there is no such session."""
    identity = sessions.parse_id(session)
    with transaction() as tx:
        if tx.get(Session, identity) is None:
            return None
    return _place(session_id=identity)


def wanted(session: str) -> bool:
    """Say whether a session is there and open, so that a channel may be opened for it ahead of its use."""
    with transaction() as tx:
        kept = tx.get(Session, sessions.parse_id(session))
        return kept is not None and kept.closed_at is None


def of_node(node: str) -> Place:
    """Return the place in which a node is spoken to."""
    return _place(node=node)


def _place(**purpose: Any) -> Place:
    with transaction() as tx:
        tx.execute(insert(Channel).values(id=new_id(), **purpose).on_conflict_do_nothing())
        return _shown(tx.scalars(select(Channel).filter_by(**purpose)).one())


def at(discord_id: int) -> Place | None:
    """Return what a channel in Discord is for; None where it is none of ours."""
    with transaction() as tx:
        row = tx.scalar(select(Channel).where(Channel.discord_id == discord_id))
        return _shown(row) if row else None


def there() -> list[Place]:
    """Return every place that has a channel now: the nodes' first, then the most recently used."""
    query = select(Channel).where(Channel.discord_id.is_not(None))
    with transaction() as tx:
        return [_shown(row) for row in tx.scalars(query.order_by(Channel.node.is_(None), Channel.used_at.desc()))]


def of_user(user: str) -> list[Place]:
    """Return the places of a person's sessions that have a channel now."""
    query = select(Channel).join(Session, Session.id == Channel.session_id)
    with transaction() as tx:
        return [_shown(row) for row in tx.scalars(query.where(Session.user_id == UUID(user), Channel.discord_id.is_not(None)))]


def opened(place: Place, discord_id: int) -> int:
    """Keep which channel a place has got; return the one that counts: somebody else may have been first."""
    with transaction() as tx:
        row = tx.scalars(select(Channel).where(Channel.id == UUID(place.id)).with_for_update()).one()
        if row.discord_id in (None, place.discord_id):
            row.discord_id, row.handled_id, row.used_at = discord_id, 0, now()
        return row.discord_id or discord_id


def lost(discord_id: int) -> None:
    """Note that a channel is gone; its place gets another one when it is needed."""
    with transaction() as tx:
        tx.execute(update(Channel).where(Channel.discord_id == discord_id).values(discord_id=None))


def handled(discord_id: int, message: int) -> None:
    """Note that everything up to a message was handled; never goes back."""
    newest = func.greatest(Channel.handled_id, message)
    with transaction() as tx:
        tx.execute(update(Channel).where(Channel.discord_id == discord_id).values(handled_id=newest, used_at=now()))


def used(place: Place) -> None:
    """Note that a place is spoken in."""
    with transaction() as tx:
        tx.execute(update(Channel).where(Channel.id == UUID(place.id)).values(used_at=now()))


def idle(most: int) -> list[Place]:
    """Return the sessions' channels that may make room, the longest idle first; never one in which a turn waits."""
    waits = exists().where(Turn.session_id == Channel.session_id, Turn.finished_at.is_(None))
    query = select(Channel).where(Channel.discord_id.is_not(None), Channel.session_id.is_not(None), ~waits)
    with transaction() as tx:
        return [_shown(row) for row in tx.scalars(query.order_by(Channel.used_at).limit(most))]


def recycled(place: Place) -> None:
    """Keep the conversation of a channel that is about to be removed; the place itself stays."""
    log.info("channel.recycled", session=place.session)
    if place.session is not None:
        transcripts.enqueue(place.session, "recycled")


def closed(session: str) -> Place | None:
    """Return the place of a session that is over; None where it has none, or is not over."""
    identity = sessions.parse_id(session)
    with transaction() as tx:
        kept = tx.get(Session, identity)
        if kept is not None and kept.closed_at is None:  # Opened again meanwhile; or it was not we who asked.
            return None
        row = tx.scalar(select(Channel).where(Channel.session_id == identity))
        return _shown(row) if row else None


def forget(place: Place) -> None:
    """Forget the place of a session that is deleted; one that may speak again keeps it."""
    if place.session is None:
        return
    with transaction() as tx:
        row = tx.get(Channel, UUID(place.id), with_for_update=True)
        if row is not None and row.session_id is not None and tx.get(Session, row.session_id) is None:
            tx.delete(row)


def speaking() -> Sequence[tuple[str, int, str]]:
    """Return each turn under way on the discord lane: its id, its attempt, its session."""
    query = select(Turn.id, Turn.attempt, Turn.session_id).where(
        Turn.state == TurnState.RUNNING.value, Turn.lane == Lane.DISCORD.value
    )
    with transaction() as tx:
        return [(str(turn), attempt, str(session)) for turn, attempt, session in tx.execute(query)]


def _shown(row: Channel) -> Place:
    session = str(row.session_id) if row.session_id else None
    return Place(str(row.id), session, row.node, row.discord_id, row.handled_id)
