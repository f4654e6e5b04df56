"""Invitations: links that let one person each make an account, and signing up with or without one."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session as Transaction

from app.core.config import settings
from app.core.db import transaction
from app.core.models import Invitation, Session, Turn, User, new_id, now
from app.services import accounts, audit, logins, passwords, throttle
from app.services.person import NOBODY_YET, Person
from app.wire.errors import BadInput, NotAllowed, NotFound
from app.wire.states import Door

LONGEST_DAYS: Final = 30
"""An open door that nobody remembers is no door anybody meant to leave open."""
VOID: Final = "This invitation cannot be used: it was used before, was withdrawn, or its time is over. Ask for another."


@dataclass(frozen=True, slots=True)
class Shown:
    """An invitation as administrators see it; its code is shown once, to whoever made it."""

    id: str
    role: str
    note: str
    made_by: str
    expires: datetime
    used_by: str | None


def invite(role: str, days: int, note: str, actor: str, door: Door, by: Person | None = None) -> str:
    """Return the code of a new invitation; it is shown this once and kept as a hash."""
    accounts.above(by, accounts.check_role(role))
    if not 1 <= days <= LONGEST_DAYS:
        raise BadInput(f"An invitation holds 1 to {LONGEST_DAYS} days.")
    note = "".join(char for char in note if char.isprintable()).strip()[:64]
    code = secrets.token_urlsafe(24)
    expires = now() + timedelta(days=days)
    with transaction() as tx:
        row = Invitation(id=new_id(), code_hash=logins.digest(code), role=role, note=note, made_by=actor[:64], expires_at=expires)
        tx.add(row)
        audit.record(tx, actor, door, "invitation.new", str(row.id), role=role, days=days)
    return code


def link(code: str, base: str) -> str:
    """Return the address that an invitation is sent as; the code stands where no server and no log gets to see it."""
    return f"{base}/join#{code}"


def listed() -> list[Shown]:
    """Return the invitations that can be used, and those that were, the latest first."""
    with transaction() as tx:
        open_or_used = (Invitation.expires_at > now()) | Invitation.used_at.is_not(None)
        rows = tx.scalars(select(Invitation).where(open_or_used).order_by(Invitation.created_at.desc()).limit(100)).all()
    return [Shown(str(one.id), one.role, one.note, one.made_by, one.expires_at, one.used_by) for one in rows]


def withdraw(invitation: str, actor: str, door: Door, by: Person | None = None) -> None:
    """Make an invitation void; raise NotFound where it cannot be used anyhow."""
    try:
        identity = UUID(invitation)
    except ValueError:
        raise NotFound(VOID) from None
    with transaction() as tx:
        row = tx.get(Invitation, identity, with_for_update=True)
        if row is None or row.used_at is not None:
            raise NotFound(VOID)
        accounts.above(by, row.role)
        tx.execute(delete(Invitation).where(Invitation.id == row.id))
        audit.record(tx, actor, door, "invitation.withdraw", str(row.id))


def look(code: str, address: str) -> Shown:
    """Return what an invitation is for; raise NotFound where it cannot be used."""
    throttle.count("", address)
    with transaction() as tx:
        row = tx.scalar(select(Invitation).where(Invitation.code_hash == logins.digest(code)))
        if row is None or row.used_at is not None or row.expires_at <= now():
            raise NotFound(VOID)
        return Shown(str(row.id), row.role, row.note, row.made_by, row.expires_at, None)


def admit(tx: Transaction, code: str | None) -> tuple[str, Invitation | None]:
    """Take up an invitation and return the role it gives; without one, as the setting says.

    Raises NotFound where the invitation is void, NotAllowed where nobody may come without one.
    """
    if settings().sign_up == "off":
        raise NotAllowed("Nobody can sign up here. Ask whoever runs this platform for an account.")
    if code:
        # Locked, so that of two who come with the same link at once only one gets in.
        row = tx.scalar(select(Invitation).where(Invitation.code_hash == logins.digest(code)).with_for_update())
        if row is None or row.used_at is not None or row.expires_at <= now():
            raise NotFound(VOID)
        return row.role, row
    if settings().sign_up != "open":
        raise NotAllowed("One comes here by invitation. Ask whoever runs this platform for a link.")
    return "member", None


def join(code: str | None, name: str, password: str, user_agent: str, address: str, guest: Person | None = None) -> str:
    """Make an account for whoever has an invitation, or for anyone where that is open; return a login's token.

    A guest who signs up becomes the account, so that their sessions are still theirs.
    """
    throttle.count("", address)
    name = accounts.check_name(name)
    passwords.check(password, name)
    with transaction() as tx:
        role, invitation = admit(tx, code)
        user = accounts.make(tx, name, password, role, name, Door.WEB)
        ended = grow(tx, guest, user)
        if invitation is not None:
            use(invitation, user)
        token = logins.begin(tx, user.id, "password", user_agent, address)
        audit.record(tx, name, Door.WEB, "login", address=address, how="sign-up")
    if guest:
        logins.tell(guest.id, ended)
    return token


def use(invitation: Invitation, user: User) -> None:
    """Mark an invitation as used by somebody."""
    invitation.used_at = now()
    invitation.used_by = user.name


def grow(tx: Transaction, guest: Person | None, user: User) -> list[bytes]:
    """Give an account all that a guest had, and end the guest's logins; return these, to `tell` of them after."""
    if guest is None or not guest.guest or guest.id == NOBODY_YET:
        return []
    tx.flush()
    for table in (Session, Turn):
        tx.execute(update(table).where(table.user_id == UUID(guest.id)).values(user_id=user.id))
    ended = logins.end_all(tx, UUID(guest.id))
    tx.execute(delete(User).where(User.id == UUID(guest.id), User.role == "guest"))
    return ended
