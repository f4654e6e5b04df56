"""Tokens for programs: made once, kept as hashes, narrowed by scopes, ended by time or by hand."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, select, update

from app.core.db import single, transaction
from app.core.models import ApiToken, User, now
from app.core.prepared import Statement
from app.services import audit, logins
from app.services.accounts import TOKEN_PREFIX, Person
from app.services.rights import SCOPES
from app.wire.errors import BadInput, NotAllowed, NotFound, NotSignedIn
from app.wire.states import Door

DEFAULT: Final = ("chat", "read")
MOST: Final = 100
"""Tokens that stand, a person; a script that makes one a run would fill the table."""
LONGEST_DAYS: Final = 3650
USED_SECONDS: Final = 60
"""How exact the last use is kept: a program that asks often would otherwise write with every request."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A token as its owner sees it; what it is itself nobody can say any more."""

    id: str
    user: str
    name: str
    scopes: tuple[str, ...]
    unlimited: bool
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None

    @property
    def stands(self) -> bool:
        """Say whether it opens anything still."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now())


def digest(token: str) -> bytes:
    """Return what is kept of a token; a fast hash is right here: it is 256 random bits, not words a person chose."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def new(
    user: str,
    label: str,
    scopes: Iterable[str],
    days: int | None,
    actor: str,
    door: Door,
    *,
    unlimited: bool = False,
) -> str:
    """Return a new token that acts as the user named; it is shown this once. `days` is how long it stands, None for ever."""
    wanted = sorted(set(scopes))
    if not wanted or not set(wanted) <= set(SCOPES):
        raise BadInput(f"A token has at least one scope, of {', '.join(SCOPES)}.")
    if days is not None and not 1 <= days <= LONGEST_DAYS:
        raise BadInput(f"A token stands for 1 to {LONGEST_DAYS:,} days, or until it is revoked.")
    label = "".join(char for char in label if char.isprintable())[:64]
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    expires = now() + timedelta(days=days) if days is not None else None
    with transaction() as tx:
        query = select(User).where(User.name == user.strip().lower()).with_for_update(read=True, key_share=True)
        owner = tx.scalar(query) if user.isprintable() else None
        if owner is None:
            raise NotFound(f"There is no user {user!r}; `meatlizard user list` shows who there is.")
        if owner.disabled_at:
            raise NotAllowed(f"{owner.name} is shut out; `meatlizard user enable {owner.name}` lets them in again.")
        ends = ApiToken.expires_at.is_(None) | (ApiToken.expires_at > now())
        standing = select(func.count()).where(ApiToken.user_id == owner.id, ApiToken.revoked_at.is_(None), ends)
        if (tx.scalar(standing) or 0) >= MOST:
            raise BadInput(f"There are {MOST} tokens already. Revoke those that are not used.")
        tx.add(
            ApiToken(
                user_id=owner.id,
                name=label,
                token_hash=digest(token),
                unlimited=unlimited,
                scopes=" ".join(wanted),
                expires_at=expires,
            )
        )
        audit.record(
            tx, actor, door, "token.new", owner.name, label=label, scopes=wanted, days=days, unlimited=unlimited
        )
    return token


_HOLDER: Final = Statement("""
with kept as (
  select t.id, t.unlimited, t.scopes, t.used_at, u.id as person, u.name, u.role
  from api_tokens t join users u on u.id = t.user_id
  where t.token_hash = cast(:digest as bytea) and t.revoked_at is null and (t.expires_at is null or t.expires_at > cast(:now as timestamptz)) and u.disabled_at is null
), used as (
  update api_tokens set used_at = :now where id in (select id from kept where used_at is null or used_at < cast(:before as timestamptz))
)
select * from kept
""")


def holder(token: str) -> Person:
    """Return who acts with a token; raise NotSignedIn where it does not stand, or no longer."""
    at = now()
    rows = single(_HOLDER, {"digest": digest(token), "now": at, "before": at - timedelta(seconds=USED_SECONDS)}, soft=True)
    if not rows:
        raise NotSignedIn("This token is not known, has run out or was revoked. Make one with `meatlizard token new`.")
    [row] = rows
    scopes = frozenset(row.scopes.split())
    return Person(str(row.person), row.name, row.role, unlimited=row.unlimited, token=str(row.id), scopes=scopes)


def listed(user: str | None = None) -> list[Shown]:
    """Return the tokens of the user with that id, or everyone's, the newest first; those that ended long ago too."""
    query = select(ApiToken, User.name).join(User, User.id == ApiToken.user_id).order_by(ApiToken.created_at.desc())
    if user is not None:
        query = query.where(ApiToken.user_id == UUID(user))
    with transaction() as tx:
        return [_shown(token, name) for token, name in tx.execute(query.limit(1000))]


def revoke(token: str, actor: str, door: Door, user: str | None = None) -> None:
    """End a token, by its id; with the id of a user only one of theirs. Twice does no harm."""
    try:
        identity = UUID(token)
    except ValueError as error:
        raise NotFound("There is no such token.") from error
    with transaction() as tx:
        kept = tx.get(ApiToken, identity)
        if kept is None or (user is not None and str(kept.user_id) != user):
            raise NotFound("There is no such token.")
        if kept.revoked_at is None:
            tx.execute(update(ApiToken).where(ApiToken.id == kept.id).values(revoked_at=now()))
            audit.record(tx, actor, door, "token.revoke", str(kept.id), label=kept.name)
    logins.tell(kept.user_id, [])  # What it has open is closed.


def _shown(token: ApiToken, name: str) -> Shown:
    return Shown(
        str(token.id),
        name,
        token.name,
        tuple(token.scopes.split()),
        token.unlimited,
        token.created_at,
        token.expires_at,
        token.used_at,
        token.revoked_at,
    )
