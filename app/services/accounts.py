"""People: accounts, their roles and passwords, and tokens for programs."""

import contextlib
import secrets
from typing import Final
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from app.core import redis
from app.core.db import transaction
from app.core.models import ApiToken, Turn, User, new_id, now
from app.services import audit, limits, logins, passwords, throttle, turns
from app.services.called import check_name as check_name
from app.services.called import spelt as spelt
from app.services.person import Person as Person  # Known by this name to all who ask who somebody is.
from app.services.rights import Rank
from app.wire.errors import BadInput, MeatLizardError, NotAllowed, NotFound, NotSignedIn
from app.wire.states import Door

ROLES: Final = ("owner", "admin", "member")
"""What an account may be; guests have none, they come and go with their login."""
TOKEN_PREFIX: Final = "ml-"
"""Lets people and secret scanners see what a string is."""
HEIGHT: Final[dict[str, int]] = {Rank.OWNER: 3, Rank.ADMIN: 2, Rank.MEMBER: 1, Rank.GUEST: 0}


def _named(tx: Transaction, name: str) -> User | None:
    if not name.isprintable():  # Nobody is called so, and PostgreSQL would not take NUL or half a character.
        return None
    return tx.scalar(select(User).where(User.name == spelt(name)))


def add(name: str, password: str | None, role: str, actor: str, door: Door) -> str:
    """Make an account and return its id; raise BadInput where the name, password or role cannot be."""
    with transaction() as tx:
        return str(make(tx, name, password, role, actor, door).id)


def make(tx: Transaction, name: str, password: str | None, role: str, actor: str, door: Door) -> User:
    """Make an account in the transaction of what leads to it."""
    user = User(id=new_id(), name=check_name(name), role=check_role(role), password_hash=None)
    if password is not None:
        passwords.check(password, user.name)
        user.password_hash = passwords.hashed(password)
    try:
        with tx.begin_nested():
            tx.add(user)
    except IntegrityError as error:
        raise BadInput(f"There is a user {user.name!r} already: take another name.") from error
    audit.record(tx, actor, door, "user.add", user.name, role=role)
    return user


def check_role(role: str) -> str:
    """Return a role that an account may have; raise BadInput where there is no such role."""
    if role not in ROLES:
        raise BadInput(f"There is no role {role!r}: it is one of {', '.join(ROLES)}.")
    return role


def above(by: Person | None, *roles: str) -> None:
    """Raise NotAllowed unless somebody stands above these roles; owners, and the command line, stand above all."""
    if by is not None and by.role != Rank.OWNER and any(HEIGHT[role] >= HEIGHT[by.role] for role in roles):
        raise NotAllowed("Only an owner may do this with owners and administrators.")


def ensure_admin(name: str, password: str) -> bool:
    """Make the first owner, unless there is one already; say whether it was made."""
    with transaction() as tx:
        if tx.scalar(select(User.id).where(User.role == "owner").limit(1)):
            return False
    add(name, password, "owner", "setup", Door.CLI)
    return True


def identity(name: str) -> str:
    """Return the id of the account of that name."""
    with transaction() as tx:
        user = _named(tx, name)
        if user is None:
            raise NotFound(f"There is no user {name!r}; `meatlizard user list` shows who there is.")
        return str(user.id)


def users() -> list[User]:
    """Return every account that is not a guest's, oldest first."""
    with transaction() as tx:
        return list(tx.scalars(select(User).where(User.role != "guest").order_by(User.created_at)))


def set_role(name: str, role: str, actor: str, door: Door, by: Person | None = None) -> None:
    """Give an account another role; `by` is who does it, where that is not the command line."""
    check_role(role)
    with transaction() as tx:
        user = _known(tx, name)
        above(by, user.role, role)
        if role != "owner":
            _keep_an_owner(tx, user)
            above(by, user.role)  # Held now: somebody may have raised them meanwhile.
        user.role = role
        touched = logins.changed(tx, user.id)
        audit.record(tx, actor, door, "user.role", user.name, role=role)
    logins.tell(user.id, touched)


def disable(name: str, actor: str, door: Door, by: Person | None = None) -> None:
    """Shut an account: it cannot sign in, its logins and tokens end, and what it has running is stopped."""
    with transaction() as tx:
        identity = _known(tx, name).id
    shut(identity, actor, door, by)


def shut(identity: UUID, actor: str, door: Door, by: Person | None = None) -> str:
    """Shut somebody out, a guest too, as `disable` does, and return their name; raise NotFound where nobody has that id."""
    with transaction() as tx:
        user = tx.get(User, identity)
        if user is None:
            raise NotFound("There is no such account any more.")
        above(by, user.role)
        # Whoever takes in a prompt or a login or makes a token holds the row of its user until that is committed, and a
        # prompt looks at it again where this was first: what is not seen below is not there, and will not be.
        _keep_an_owner(tx, user)
        above(by, user.role)  # Held now: somebody may have raised them meanwhile.
        user.disabled_at = user.disabled_at or now()
        ended = logins.end_all(tx, user.id)
        tx.execute(update(ApiToken).where(ApiToken.user_id == user.id, ApiToken.revoked_at.is_(None)).values(revoked_at=now()))
        # Stopped for good with the ban itself: where this process dies before it has told anybody, the sweeper does.
        mine = select(Turn.id).where(Turn.user_id == user.id, Turn.finished_at.is_(None))
        unfinished = tx.scalars(mine.order_by(Turn.id).with_for_update()).all()
        tx.execute(update(Turn).where(Turn.id.in_(unfinished)).values(stopped=True))
        audit.record(tx, actor, door, "user.disable", user.name)
    logins.tell(user.id, ended)
    for turn in unfinished:
        with contextlib.suppress(MeatLizardError, *redis.ERRORS):  # Shut out they are; what still runs ends by itself.
            turns.stop(str(turn), str(user.id))
    return user.name


def enable(name: str, actor: str, door: Door, by: Person | None = None) -> None:
    """Open an account again; its old logins and tokens stay ended."""
    with transaction() as tx:
        user = _known(tx, name)
        above(by, user.role)
        user.disabled_at = None
        audit.record(tx, actor, door, "user.enable", user.name)


def set_password(name: str, password: str, actor: str, door: Door) -> None:
    """Give an account another password; its logins end everywhere."""
    passwords.check(password, spelt(name))
    fresh = passwords.hashed(password)
    with transaction() as tx:
        user = _known(tx, name)
        user.password_hash = fresh
        ended = logins.end_all(tx, user.id)
        audit.record(tx, actor, door, "user.password", user.name)
    logins.tell(user.id, ended)


def logins_of(name: str) -> list[logins.Shown]:
    """Return where somebody is signed in."""
    with transaction() as tx:
        user = _known(tx, name)
    return logins.listed(str(user.id))


def sign_out_everywhere(name: str, actor: str, door: Door) -> int:
    """End all logins of an account and return how many there were; tokens for programs go on."""
    with transaction() as tx:
        user = _known(tx, name)
        ended = logins.end_all(tx, user.id)
        audit.record(tx, actor, door, "login.end_all", user.name)
    logins.tell(user.id, ended)
    return len(ended)


def _known(tx: Transaction, name: str) -> User:
    user = _named(tx, name)
    if user is None or user.role == Rank.GUEST:
        raise NotFound(f"There is no user {name!r}.")
    return user


def _keep_an_owner(tx: Transaction, user: User) -> None:
    """Raise NotAllowed where nobody would be left to look after the platform; the account is held until the commit."""
    owner = (User.role == "owner") & User.disabled_at.is_(None)
    # In one order, so that two of these at once, or one beside prompts that came together, never wait for each other.
    held = tx.scalars(
        select(User).where(owner | (User.id == user.id)).order_by(User.id).with_for_update(),
        execution_options={"populate_existing": True},
    ).all()
    if [one.id for one in held if one.role == "owner" and not one.disabled_at] == [user.id]:
        raise NotAllowed(f"{user.name} is the only owner: make somebody else one first, `meatlizard user role NAME owner`.")


def sign_in(name: str, password: str, user_agent: str, address: str) -> str:
    """Return a new login's token; raise NotSignedIn with the same words and after the same time whatever was wrong.

    Raises TooOften where there were too many tries for this name or from this address.
    """
    name = spelt(name)
    throttle.count(name, address)
    with transaction() as tx:
        user = _named(tx, name)
    good = passwords.verify(user.password_hash if user else None, password) and user is not None and not user.disabled_at
    with transaction() as tx:
        # Held, and as it was looked at: a password that is changed in this moment lets nobody in after that.
        held = tx.get(User, user.id, with_for_update={"key_share": True}) if good and user else None
        if user is None or held is None or held.password_hash != user.password_hash:
            audit.record(tx, "anonymous", Door.WEB, "login.refused", address=address)
        else:
            if user.password_hash and passwords.outdated(user.password_hash):
                tx.execute(update(User).where(User.id == user.id).values(password_hash=passwords.hashed(password)))
            token = logins.begin(tx, user.id, "password", user_agent, address)
            audit.record(tx, user.name, Door.WEB, "login", address=address)
            throttle.forgive(name, address)
            return token
    raise NotSignedIn("Name and password do not fit. Try again, or ask whoever runs this platform.")


def has_password(who: Person) -> bool:
    """Say whether somebody can sign in by a password; others come from another provider."""
    with transaction() as tx:
        return tx.get_one(User, UUID(who.id)).password_hash is not None


def change_password(who: Person, old: str, new: str, user_agent: str, address: str) -> str:
    """Give oneself another password and return the token of a new login; all others end everywhere.

    Raises NotAllowed where the old one is wrong: the answer to that is to type it again, not to sign in.
    """
    throttle.count(who.name, address)
    passwords.check(new, who.name)
    with transaction() as tx:
        known = tx.get_one(User, UUID(who.id)).password_hash
    if known is not None and not passwords.verify(known, old):
        raise NotAllowed("The old password is another one. Try again.")
    fresh = passwords.hashed(new)
    with transaction() as tx:
        as_it_was = User.id == UUID(who.id), User.password_hash.is_not_distinct_from(known)
        if tx.scalar(update(User).where(*as_it_was).values(password_hash=fresh).returning(User.id)) is None:
            raise NotAllowed("The password was changed a moment ago. Sign in with that one.")
        ended = logins.end_all(tx, UUID(who.id))
        token = logins.begin(tx, UUID(who.id), "password", user_agent, address)
        audit.record(tx, who.name, Door.WEB, "user.password", who.name)
    throttle.forgive(who.name, address)
    logins.tell(who.id, ended)
    return token


def enter_as_guest(user_agent: str, address: str) -> str:
    """Return the token of a login for a new guest; raise TooOften where too many come."""
    limits.begin_guest()
    with transaction() as tx:
        user = User(id=new_id(), name=f"guest-{secrets.token_hex(6)}", role="guest", password_hash=None)
        tx.add(user)
        tx.flush()
        return logins.begin(tx, user.id, "guest", user_agent, address)
