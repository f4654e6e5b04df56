"""People: accounts, passwords, logins and tokens."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Final
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from app.core.config import settings
from app.core.db import transaction
from app.core.models import ApiToken, Login, User, new_id, now
from app.services import audit
from app.services.rights import Right, may, opened
from app.wire.errors import BadInput, NotAllowed, NotFound, NotSignedIn
from app.wire.states import Door

ROLES: Final = ("owner", "admin", "member")
"""What an account may be; guests have none, they come and go with their login."""
PASSWORD_LENGTH: Final = 10
"""Fewest characters of a password that a person chooses."""
TOKEN_PREFIX: Final = "ml-"
"""Lets people and secret scanners see what a string is."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever is at the door, once they are known."""

    id: str
    name: str
    role: str
    unlimited: bool = False
    login: str = ""
    """The login they hold; empty where they came with a token."""
    scopes: frozenset[str] | None = None
    """What the token they came with opens; None where they came with a login."""

    @property
    def guest(self) -> bool:
        """Say whether they are here without an account."""
        return self.role == "guest"

    @property
    def admin(self) -> bool:
        """Say whether they look after the platform."""
        return self.role in ("owner", "admin")

    def may(self, right: Right) -> bool:
        """Say whether they have a right, and came with something that opens it."""
        return may(self.role, right) and (self.scopes is None or opened(self.scopes, right))


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _nobody() -> str:
    # Verified where there is no such user, so that both refusals take the same time.
    return _hasher().hash(secrets.token_hex())


def _hash(token: str) -> bytes:
    # A fast hash is right here: these tokens are 256 random bits, not words a person chose.
    return hashlib.sha256(token.encode()).digest()


def _named(tx: Transaction, name: str) -> User | None:
    if not name.isprintable():  # Nobody is called so, and PostgreSQL would not take NUL or half a character.
        return None
    return tx.scalar(select(User).where(User.name == name.strip().lower()))


def add(name: str, password: str | None, role: str, actor: str, door: Door) -> str:
    """Make an account and return its id; raise BadInput where the name, password or role cannot be."""
    name = name.strip().lower()
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise BadInput("A name has 1 to 64 visible characters.")
    if role not in ROLES:
        raise BadInput(f"There is no role {role!r}: it is one of {', '.join(ROLES)}.")
    if password is not None and len(password) < PASSWORD_LENGTH:
        raise BadInput(f"The password is too short: {PASSWORD_LENGTH} characters at least.")
    user = User(id=new_id(), name=name, role=role, password_hash=password and _hasher().hash(password))
    try:
        with transaction() as tx:
            tx.add(user)
            tx.flush()
            audit.record(tx, actor, door, "user.add", name, role=role)
    except IntegrityError as error:
        raise BadInput(f"There is a user {name!r} already.") from error
    return str(user.id)


def ensure_admin(name: str, password: str) -> bool:
    """Make the first owner, unless there is one already; say whether it was made."""
    with transaction() as tx:
        if tx.scalar(select(User.id).where(User.role == "owner").limit(1)):
            return False
    add(name, password, "owner", "setup", Door.CLI)
    return True


def users() -> list[User]:
    """Return every account that is not a guest's, oldest first."""
    with transaction() as tx:
        return list(tx.scalars(select(User).where(User.role != "guest").order_by(User.created_at)))


def set_role(name: str, role: str, actor: str, door: Door) -> None:
    """Give an account another role."""
    if role not in ROLES:
        raise BadInput(f"There is no role {role!r}: it is one of {', '.join(ROLES)}.")
    with transaction() as tx:
        user = _named(tx, name)
        if user is None:
            raise NotFound(f"There is no user {name!r}.")
        if role != "owner":
            _keep_an_owner(tx, user)
        user.role = role
        audit.record(tx, actor, door, "user.role", user.name, role=role)


def disable(name: str, actor: str, door: Door) -> None:
    """Shut an account: it cannot sign in, and its logins and tokens end."""
    with transaction() as tx:
        user = _named(tx, name)
        if user is None:
            raise NotFound(f"There is no user {name!r}.")
        _keep_an_owner(tx, user)
        user.disabled_at = user.disabled_at or now()
        tx.execute(delete(Login).where(Login.user_id == user.id))
        tx.execute(update(ApiToken).where(ApiToken.user_id == user.id, ApiToken.revoked_at.is_(None)).values(revoked_at=now()))
        audit.record(tx, actor, door, "user.disable", user.name)


def enable(name: str, actor: str, door: Door) -> None:
    """Open an account again; its old logins and tokens stay ended."""
    with transaction() as tx:
        user = _named(tx, name)
        if user is None:
            raise NotFound(f"There is no user {name!r}.")
        user.disabled_at = None
        audit.record(tx, actor, door, "user.enable", user.name)


def set_password(name: str, password: str, actor: str, door: Door) -> None:
    """Give an account another password; its logins end everywhere."""
    if len(password) < PASSWORD_LENGTH:
        raise BadInput(f"The password is too short: {PASSWORD_LENGTH} characters at least.")
    with transaction() as tx:
        user = _named(tx, name)
        if user is None:
            raise NotFound(f"There is no user {name!r}.")
        user.password_hash = _hasher().hash(password)
        tx.execute(delete(Login).where(Login.user_id == user.id))
        audit.record(tx, actor, door, "user.password", user.name)


def _keep_an_owner(tx: Transaction, user: User) -> None:
    """Raise NotAllowed where nobody would be left to look after the platform."""
    owners = tx.scalars(select(User.id).where(User.role == "owner", User.disabled_at.is_(None)).with_for_update()).all()
    if list(owners) == [user.id]:
        raise NotAllowed(f"{user.name} is the only owner: make somebody else one first, `meatlizard user role NAME owner`.")


def sign_in(name: str, password: str, user_agent: str, address: str) -> str:
    """Return a new login's token; raise NotSignedIn with the same words and after the same time whatever was wrong."""
    with transaction() as tx:
        user = _named(tx, name)
    try:
        _hasher().verify(user.password_hash if user and user.password_hash else _nobody(), password)
        good = bool(user and user.password_hash and not user.disabled_at)
    except (VerificationError, InvalidHashError):
        good = False
    with transaction() as tx:
        if not good or user is None:
            audit.record(tx, "anonymous", Door.WEB, "login.refused", address=address)
        else:
            token = _login(tx, user.id, user_agent, address)
            audit.record(tx, user.name, Door.WEB, "login", address=address)
            return token
    raise NotSignedIn("Name and password do not fit. Try again, or ask whoever runs this platform.")


def enter_as_guest(user_agent: str, address: str) -> str:
    """Return the token of a login for a new guest."""
    with transaction() as tx:
        user = User(id=new_id(), name=f"guest-{secrets.token_hex(6)}", role="guest", password_hash=None)
        tx.add(user)
        tx.flush()
        return _login(tx, user.id, user_agent, address)


def _login(tx: Transaction, user: UUID, user_agent: str, address: str) -> str:
    token = secrets.token_urlsafe(32)
    expires = now() + timedelta(days=settings().login_days)
    tx.add(Login(user_id=user, token_hash=_hash(token), expires_at=expires, user_agent=user_agent[:200], address=address[:64]))
    return token


def by_login(token: str) -> Person:
    """Return whose login this is; raise NotSignedIn where it has ended."""
    with transaction() as tx:
        row = tx.execute(
            select(User, Login.id)
            .join(Login, Login.user_id == User.id)
            .where(Login.token_hash == _hash(token), Login.expires_at > now(), User.disabled_at.is_(None))
        ).first()
    if row is None:
        raise NotSignedIn
    return Person(str(row.User.id), row.User.name, row.User.role, login=str(row.id))


def sign_out(token: str) -> None:
    """End a login."""
    with transaction() as tx:
        tx.execute(delete(Login).where(Login.token_hash == _hash(token)))


def expire_logins() -> int:
    """Remove the logins whose time is over; return how many."""
    with transaction() as tx:
        return len(tx.execute(delete(Login).where(Login.expires_at <= now()).returning(Login.id)).all())
