"""Logins: what a browser's cookie stands for. Live in Redis, kept in PostgreSQL, and told of when they end."""

import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session as Transaction

from app.core import keys, redis
from app.core.config import settings
from app.core.db import transaction
from app.core.models import LinkCode, Login, User, now
from app.services import audit
from app.services.person import Person
from app.wire import names
from app.wire.errors import EnvelopeError, NotFound, NotSignedIn
from app.wire.states import Door

log = structlog.get_logger(__name__)

LIVE_SECONDS: Final = 60
"""How long Redis answers for a login before PostgreSQL is asked again: the most that a login can outlive its end where
whoever ended it died before telling Redis."""
EVERYBODY: Final = "*"
"""Told instead of a user's id where all have to be looked at again."""
BROWSERS: Final = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrom", "Chrome"), ("Safari", "Safari"))
SYSTEMS: Final = (
    *(("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows")),
    *(("Mac OS", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux")),
)
"""Words of a User-Agent in the order in which they decide, since each browser also claims to be those below it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A login as its owner sees it."""

    id: str
    device: str
    address: str
    how: str
    since: datetime
    seen: datetime


def digest(token: str) -> bytes:
    """Return what is kept of a cookie or token: a fast hash is right for 256 random bits, which nobody chose."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def begin(tx: Transaction, user: UUID, how: str, user_agent: str, address: str) -> str:
    """Return the token of a new login, begun in the transaction of the act that proved who they are.

    Raises NotSignedIn where they were shut out a moment ago.
    """
    query = select(User.id).where(User.id == user, User.disabled_at.is_(None)).with_for_update(read=True, key_share=True)
    if tx.scalar(query) is None:
        raise NotSignedIn
    token = secrets.token_urlsafe(32)
    expires = now() + timedelta(days=settings().login_days)
    agent = "".join(char for char in user_agent if char.isprintable())[:200]
    tx.add(
        Login(user_id=user, token_hash=digest(token), expires_at=expires, user_agent=agent, address=address[:64], how=how)
    )
    return token


def person(token: str) -> Person:
    """Return whose login this is, by one look into Redis; raise NotSignedIn where it has ended."""
    known = digest(token)
    with contextlib.suppress(*redis.ERRORS):
        if found := redis.client().get(names.login(known.hex())):
            with contextlib.suppress(EnvelopeError):
                return _opened(found, known)
    return _refill(known)


def _refill(known: bytes) -> Person:
    with transaction() as tx:
        who = _read(tx, known)
    try:
        redis.client().set(names.login(known.hex()), _sealed(who, known), ex=LIVE_SECONDS)
    except redis.ERRORS:
        return who
    # Looked at again after writing: whoever ended it in between deletes after their commit, so either we see that
    # here, or they delete what we wrote. What is in Redis is never older than what was told.
    try:
        with transaction() as tx:
            tx.execute(update(Login).where(Login.token_hash == known).values(seen_at=now()))
            still = _read(tx, known)
    except Exception:
        _forget([known])
        raise
    if still != who:
        _forget([known])
    return still


def _read(tx: Transaction, known: bytes) -> Person:
    row = tx.execute(
        select(User.id, User.name, User.role, Login.id)
        .join(Login, Login.user_id == User.id)
        .where(Login.token_hash == known, Login.expires_at > now(), User.disabled_at.is_(None))
    ).first()
    if row is None:
        raise NotSignedIn
    return Person(str(row[0]), row[1], row[2], login=str(row[3]))


def _sealed(who: Person, known: bytes) -> bytes:
    # Sealed, so that whoever can write to Redis can still not make themselves anybody; bound to the cookie and to the
    # minute, so that they cannot bring back an old one either.
    return keys.master().derive("login").seal(orjson.dumps([known.hex(), who.id, who.name, who.role, who.login]))


def _opened(envelope: bytes, known: bytes) -> Person:
    whose, identity, name, role, login = orjson.loads(keys.master().derive("login").open(envelope, LIVE_SECONDS))
    if whose != known.hex():
        raise EnvelopeError
    return Person(identity, name, role, login=login)


def end(token: str) -> None:
    """End the login that a cookie stands for; where there is none nothing happens."""
    with transaction() as tx:
        ended = tx.execute(delete(Login).where(Login.token_hash == digest(token)).returning(Login.user_id)).first()
    if ended:
        tell(ended.user_id, [digest(token)])


def end_one(login: str, who: Person, door: Door) -> None:
    """End one of a person's own logins; raise NotFound where it is not theirs."""
    gone = NotFound("This login is not here: it has ended, or it is not yours.")
    try:
        mine = Login.id == UUID(login), Login.user_id == UUID(who.id)
    except ValueError:
        raise gone from None
    with transaction() as tx:
        ended = tx.scalar(delete(Login).where(*mine).returning(Login.token_hash))
        if ended is None:
            raise gone
        tx.execute(delete(LinkCode).where(LinkCode.user_id == UUID(who.id)))
        audit.record(tx, who.name, door, "login.end", who.name)
    tell(who.id, [ended])


def stand(tx: Transaction, login: str, user: str) -> None:
    """Raise NotSignedIn where a login of somebody's has ended; it does not end before the commit either.

    Asked where something comes back that was begun with it: else whoever was shut out meanwhile would come back for good.
    """
    query = select(Login.id).join(User, User.id == Login.user_id).where(User.disabled_at.is_(None), Login.expires_at > now())
    mine = query.where(Login.id == UUID(login), Login.user_id == UUID(user)).with_for_update(read=True, of=Login) if login else None
    if mine is None or tx.scalar(mine) is None:
        raise NotSignedIn("Your login here has ended meanwhile. Sign in again, then begin anew.")


def end_all(tx: Transaction, user: UUID) -> list[bytes]:
    """End all logins of a user in the transaction of the act that does; `tell` of them after its commit."""
    # A code for /link that whoever is to be out has made is a way back in.
    tx.execute(delete(LinkCode).where(LinkCode.user_id == user))
    return list(tx.scalars(delete(Login).where(Login.user_id == user).returning(Login.token_hash)))


def end_everywhere(who: Person, door: Door) -> None:
    """End all logins of a person, the one they act with included."""
    with transaction() as tx:
        ended = end_all(tx, UUID(who.id))
        audit.record(tx, who.name, door, "login.end_all", who.name)
    tell(who.id, ended)


def end_everybodys(actor: str, door: Door) -> None:
    """End every login there is: after a restore nobody may be in by what was true when the backup was made."""
    with transaction() as tx:
        ended = list(tx.scalars(delete(Login).returning(Login.token_hash)))
        audit.record(tx, actor, door, "login.end_everybodys")
    with contextlib.suppress(*redis.ERRORS):  # Those whose rows the restore has taken away already.
        for key in redis.client().scan_iter(names.login("*"), count=1000):
            redis.client().delete(key)
    tell(EVERYBODY, ended)


def changed(tx: Transaction, user: UUID) -> list[bytes]:
    """Return the logins that have to be looked up anew since something of their user changes; `tell` of them after."""
    return list(tx.scalars(select(Login.token_hash).where(Login.user_id == user)))


def tell(user: UUID | str, ended: Iterable[bytes]) -> None:
    """Make Redis forget logins, and every web process look again at what this user has open; after the commit only."""
    _forget(ended)
    try:
        redis.client().publish(names.LOGINS, str(user))
    except redis.ERRORS as error:
        # Web processes look again by themselves, when Redis is back and every minute.
        log.warning("logins.untold", error=str(error))


def _forget(ended: Iterable[bytes]) -> None:
    if known := [names.login(one.hex()) for one in ended]:
        with contextlib.suppress(*redis.ERRORS):
            redis.client().delete(*known)


def listed(user: str) -> list[Shown]:
    """Return a person's logins, the latest seen first."""
    with transaction() as tx:
        query = select(Login).where(Login.user_id == UUID(user), Login.expires_at > now())
        rows = tx.scalars(query.order_by(Login.seen_at.desc())).all()
    return [Shown(str(one.id), device(one.user_agent), one.address, one.how, one.created_at, one.seen_at) for one in rows]


def device(user_agent: str) -> str:
    """Return a browser and a system in words, from what the browser says of itself."""
    browser = next((name for word, name in BROWSERS if word in user_agent), "")
    system = next((name for word, name in SYSTEMS if word in user_agent), "")
    if browser or system:
        return f"{browser or 'A browser'} on {system}" if system else browser
    return (re.split(r"[/ ]", user_agent)[0] or "unknown")[:40]


def expire() -> int:
    """Remove the logins whose time is over; return how many."""
    with transaction() as tx:
        return len(tx.execute(delete(Login).where(Login.expires_at <= now()).returning(Login.id)).all())
