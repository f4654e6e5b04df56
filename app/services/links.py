"""Who somebody in Discord is here: an account of their own making, or the one they linked by a one-time code."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Final
from uuid import UUID

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as Transaction

from app.core import keys
from app.core.broker import ask_relay
from app.core.config import settings
from app.core.db import transaction
from app.core.models import DiscordLink, Identity, LinkCode, Session, Turn, User, new_id, now
from app.services import audit, logins, membership, spending
from app.services.accounts import Person
from app.wire import names
from app.wire.errors import BadInput, Busy, NotAllowed
from app.wire.states import Door

log = structlog.get_logger(__name__)

ALPHABET: Final = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without what is easily mistaken for something else: I, L, O, 0, 1."""
CODE_LENGTH: Final = 10
"""Characters: 31^10 codes, of which a handful is good at a time and ten tries a minute are allowed in all."""
CODE_MINUTES: Final = 10
TRIES: Final = RateLimitItemPerMinute(5, 10)
"""Codes that one person in Discord may try: 5 in 10 minutes."""
ALL_TRIES: Final = RateLimitItemPerMinute(100, 10)
"""Codes that all people together may try, so that many accounts in Discord do not guess faster than one."""
MARK_LENGTH: Final = 32
"""Hexadecimal characters, 128 bits: what stands in a button may have 100 in all."""
NOT_GOOD: Final = "This code is not good: it was used, is over ten minutes old, or has a slip in it. Get a new one."
RANKS: Final = ("guest", "member", "admin", "owner")
ONLY_WAY: Final = "Discord is the only way to sign in to this account. Set a password on its page first, then unlink it."
SHUT: Final = "Your account here is shut. Ask an administrator of this platform."


@cache
def _limiter() -> FixedWindowRateLimiter:
    url = settings().redis_url.get_secret_value()
    return FixedWindowRateLimiter(storage_from_string(url, key_prefix="ml:limits", wrap_exceptions=True))


def _hash(code: str) -> bytes:
    return hashlib.sha256(b"link|" + "".join(char for char in code.upper() if char.isalnum()).encode()).digest()


def code(user_id: str) -> str:
    """Return a one-time code for an account, good for ten minutes; an older one of theirs is good no more."""
    made = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
    with transaction() as tx:
        user = tx.get_one(User, UUID(user_id))
        if user.role == "guest":
            raise NotAllowed("A guest has no account to link. Ask an administrator for one, sign in, and come back.")
        link = tx.scalar(select(DiscordLink).where(DiscordLink.user_id == user.id))
        if link is not None and link.own:
            raise BadInput("This account was made for you in Discord. Sign in to the one that shall be yours, and get a code there.")
        if link is not None:
            raise BadInput(f"This account is linked to {link.name or 'somebody'} in Discord already: unlink that first.")
        values = {"user_id": user.id, "code_hash": _hash(made), "expires_at": now() + timedelta(minutes=CODE_MINUTES)}
        tx.execute(insert(LinkCode).values(values).on_conflict_do_update(index_elements=["user_id"], set_=values))
        audit.record(tx, user.name, Door.WEB, "link.code", user.name)
    return f"{made[:5]}-{made[5:]}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What somebody in Discord is asked before they are linked: to which account."""

    account: str
    """Its id."""
    name: str
    mark: str
    """Hexadecimal; good for this code and this person in Discord alone, and tells nothing of the code."""


def offer(code: str, discord_id: int) -> Offer:
    """Return the account that showed a code, for whoever gave the code to say yes to; nothing is linked or used up yet.

    Raises BadInput for a code that is not good (any more) and where the two cannot be linked, Busy after too many tries,
    NotAllowed for one who is shut out.
    """
    # One's own first: who has none left takes none of everybody's.
    if not (_limiter().hit(TRIES, "link", str(discord_id)) and _limiter().hit(ALL_TRIES, "link")):
        raise Busy("Too many codes were tried. Wait ten minutes, then let the page show a new one.")
    with transaction() as tx:
        row = tx.scalar(select(LinkCode).where(LinkCode.code_hash == _hash(code), LinkCode.expires_at > now()))
        user = tx.get(User, row.user_id) if row else None
        if row is None or user is None or user.disabled_at is not None:
            raise BadInput(NOT_GOOD)
        _check(tx, user, discord_id)
        return Offer(str(user.id), user.name, _marks(row, discord_id)[0])


def confirm(account: str, mark: str, discord_id: int, name: str) -> Person:
    """Link somebody in Discord to the account of an offer that was made to them; what they said so far goes along.

    The code is used up by it; done twice, it is done once. Raises BadInput where the code is not good any more or the mark
    is another's, NotAllowed for one who is shut out.
    """
    with transaction() as tx:
        row = tx.get(LinkCode, UUID(account), with_for_update=True)
        if row is None or not any(hmac.compare_digest(mark, one) for one in _marks(row, discord_id)):
            found = _found(tx, discord_id)
            if found is None or found[0].own or str(found[1].id) != account:
                raise BadInput(NOT_GOOD)
            return Person(account, found[1].name, found[1].role)
        user = tx.get_one(User, row.user_id)
        if row.expires_at <= now() or user.disabled_at is not None:
            raise BadInput(NOT_GOOD)
        tx.delete(row)
        merged = _attach(tx, user, discord_id, name, Door.DISCORD)
        person = Person(str(user.id), user.name, user.role)
    _after(person.id, merged)
    _show_channels(person.id, discord_id, sees=True)
    return person


def _marks(row: LinkCode, discord_id: int) -> list[str]:
    # It stands in a button: with nothing in it to guess codes by, and nothing to be kept anywhere until it is pressed.
    body = b"|".join((row.user_id.bytes, row.code_hash, str(discord_id).encode()))
    ring = keys.master().derive("link")
    return [hmac.new(key, body, "sha256").hexdigest()[:MARK_LENGTH] for key in ring.keys]


def attach(user_id: str, discord_id: int, name: str, door: Door, login: str | None = None) -> None:
    """Link an account with somebody in Discord who has proved there who they are; raise BadInput where it cannot be.

    Raises NotSignedIn where it was begun with a login that has ended.
    """
    with transaction() as tx:
        if login is not None:
            logins.stand(tx, login, user_id)
        merged = _attach(tx, tx.get_one(User, UUID(user_id)), discord_id, name, door)
    _after(user_id, merged)
    _show_channels(user_id, discord_id, sees=True)


@dataclass(frozen=True, slots=True)
class _Merged:
    """An account that is one with another now, and the logins to it that ended."""

    user: UUID
    logins: list[bytes]


def _check(tx: Transaction, user: User, discord_id: int) -> DiscordLink | None:
    """Return what somebody in Discord is linked to so far, locked; raise where they cannot be linked to an account."""
    if tx.scalar(select(DiscordLink).where(DiscordLink.user_id == user.id)):
        raise BadInput("That account is linked to somebody in Discord already: unlink that first.")
    before = tx.get(DiscordLink, discord_id, with_for_update=True)
    if before is not None:
        # Else whoever was shut out came back in by another account, and the ban would be gone with the one that had it.
        if tx.get_one(User, before.user_id).disabled_at is not None:
            raise NotAllowed(SHUT)
        if not before.own:
            raise BadInput("You are linked to an account already: /unlink that first.")
    return before


def _attach(tx: Transaction, user: User, discord_id: int, name: str, door: Door) -> _Merged | None:
    before = _check(tx, user, discord_id)
    merged = _merge(tx, before, user.id) if before is not None else None
    tx.add(DiscordLink(discord_id=discord_id, user_id=user.id, name=_shown(name)))
    audit.record(tx, user.name, door, "link", user.name, discord_id=discord_id, merged=before is not None)
    return merged


def _merge(tx: Transaction, before: DiscordLink, new: UUID) -> _Merged:
    """Give all that an account of Discord's own has said to another, and remove it; turns under way go on.

    Other places with which it was signed in lead to the other account now; its tokens end, since that may do more.
    """
    old = before.user_id
    tx.delete(before)
    tx.flush()
    for table in (Session, Turn, Identity):
        tx.execute(update(table).where(table.user_id == old).values(user_id=new))
    ended = logins.end_all(tx, old)
    tx.execute(delete(User).where(User.id == old))
    return _Merged(old, ended)


def _after(user_id: str, merged: _Merged | None) -> None:
    """Let it be known, after the commit, that two accounts are one."""
    if merged is not None:
        logins.tell(merged.user, merged.logins)
        spending.recount(user_id)


def user_of(discord_id: int) -> Person | None:
    """Return whose account somebody in Discord uses, in its own role; None where they have none."""
    with transaction() as tx:
        found = _found(tx, discord_id)
        return Person(str(found[1].id), found[1].name, found[1].role) if found else None


def discord_of(user_id: str, *, own: bool = False) -> tuple[int, str] | None:
    """Return the Discord id and name that an account is linked to; None where it is linked to nobody.

    An account that was made for somebody in Discord counts as linked to them only with `own`.
    """
    query = select(DiscordLink).where(DiscordLink.user_id == UUID(user_id))
    with transaction() as tx:
        row = tx.scalar(query if own else query.where(DiscordLink.own.is_(False)))
        return (row.discord_id, row.name) if row else None


def sees(user_id: str, discord_id: int) -> bool:
    """Say whether somebody in Discord may see the channels of an account's sessions: it is theirs, and linked."""
    linked = discord_of(user_id)
    return settings().discord_owner_sees and linked is not None and linked[0] == discord_id


def owner_shown(session: str) -> int | None:
    """Return the Discord id of whoever may see a session's channel as its owner; None for nobody."""
    if not settings().discord_owner_sees:
        return None
    query = select(DiscordLink.discord_id).join(Session, Session.user_id == DiscordLink.user_id)
    with transaction() as tx:
        return tx.scalar(query.where(Session.id == UUID(session), DiscordLink.own.is_(False)))


def enter(discord_id: int, name: str, roles: Iterable[int] | None) -> Person:
    """Return who somebody in Discord is here, given an account if they have none; raise NotAllowed where they may not in.

    Their role is their account's, or the one that a role of theirs in the guild stands for, whichever may do more; None
    where it is not known which they hold.
    """
    given = role_of(roles or ())
    with transaction() as tx:
        found = _found(tx, discord_id)
        if given is None and settings().discord_strangers == "refused" and (found is None or found[0].own):
            raise NotAllowed("You may not use this bot yet: /link your account, or ask an administrator for a role here.")
        if found is None:
            _make(tx, discord_id, name)
            found = _found(tx, discord_id)
            assert found is not None
        link, user = found
        if user.disabled_at is not None:
            raise NotAllowed(SHUT)
        link.name = _shown(name) or link.name
        touched = membership.follow(tx, link, user, given) if roles is not None else []
        role = max(user.role, given or "guest", key=RANKS.index)
        person = Person(str(user.id), user.name, role)
    if touched:
        logins.tell(person.id, touched)
    return person


def role_of(roles: Iterable[int]) -> str | None:
    """Return the highest role here that any of somebody's roles in the guild stands for."""
    found = [settings().roles_of_guild[one] for one in roles if one in settings().roles_of_guild]
    return max(found, key=RANKS.index, default=None)


def unlink(discord_id: int, door: Door) -> str:
    """Take a link apart, and return the account's name; what was said stays with the account. Raises BadInput for none.

    Whoever signs in by Discord alone keeps the link: else nobody could ever get into the account again. So does whoever is
    shut out: with their next word they would be given another account, and be in again. Raises NotAllowed for them.
    """
    with transaction() as tx:
        found = _found(tx, discord_id)
        if found is None or found[0].own:
            raise BadInput("You are linked to no account. /link takes the code that the page shows under Discord.")
        link, user = found
        if user.disabled_at is not None:
            raise NotAllowed(SHUT)
        elsewhere = tx.scalar(select(Identity.provider).where(Identity.user_id == user.id).limit(1))
        if settings().discord_client_id and user.password_hash is None and elsewhere is None:
            raise BadInput(ONLY_WAY)
        tx.delete(link)
        audit.record(tx, user.name, door, "unlink", user.name, discord_id=discord_id)
        user_id, name = str(user.id), user.name
    # Else an account after the other would bring a day's tokens after the other.
    spending.keep_used(user_id, f"discord-{discord_id}")
    _show_channels(user_id, discord_id, sees=False)
    return name


def unlink_account(user_id: str, door: Door) -> str:
    """Take an account's link apart, and return the name in Discord; raise BadInput for none."""
    linked = discord_of(user_id)
    if linked is None:
        raise BadInput("This account is linked to nobody in Discord.")
    unlink(linked[0], door)
    return linked[1]


def _found(tx: Transaction, discord_id: int) -> tuple[DiscordLink, User] | None:
    row = tx.execute(
        select(DiscordLink, User).join(User, User.id == DiscordLink.user_id).where(DiscordLink.discord_id == discord_id)
    ).first()
    return (row[0], row[1]) if row else None


def _make(tx: Transaction, discord_id: int, name: str) -> None:
    """Give somebody an account without a password; of two at once the second takes the first one's."""
    user = User(id=new_id(), name=f"discord-{discord_id}", role="member", password_hash=None)
    made = insert(User).values(id=user.id, name=user.name, role=user.role).on_conflict_do_nothing()
    if tx.scalar(made.returning(User.id)) is None:
        if _found(tx, discord_id) is not None:
            return  # Made by another command of theirs at this moment.
        # Somebody else bears that name; their account is not for whoever comes with the number in it.
        user.name = f"{user.name}-{secrets.token_hex(4)}"
        tx.execute(insert(User).values(id=user.id, name=user.name, role=user.role))
    link = {"discord_id": discord_id, "user_id": user.id, "own": True, "name": _shown(name)}
    if tx.scalar(insert(DiscordLink).values(link).on_conflict_do_nothing().returning(DiscordLink.discord_id)):
        audit.record(tx, user.name, Door.DISCORD, "user.add", user.name, role="member", discord_id=discord_id)
        spending.follow_up(f"discord-{discord_id}", str(user.id))


def _shown(name: str) -> str:
    return "".join(char for char in name if char.isprintable())[:64]


def _show_channels(user_id: str, discord_id: int, *, sees: bool) -> None:
    if settings().discord_owner_sees:
        ask_relay(names.SHOW_CHANNELS, user_id, discord_id, sees)


def own(discord_id: int) -> bool:
    """Say whether somebody in Discord uses an account that was made for them there."""
    with transaction() as tx:
        found = tx.get(DiscordLink, discord_id)
        return found is not None and found.own
