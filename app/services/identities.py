"""Whose account somebody means whom another place vouches for; never found by a name or an address that anybody can take."""

import re
import secrets
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as Transaction

from app.core.config import settings
from app.core.db import transaction
from app.core.models import Identity, User
from app.services import accounts, audit, invitations, links, logins, membership
from app.services.person import Person
from app.services.providers import DISCORD, Arrival
from app.wire.errors import BadInput, NotAllowed, NotFound
from app.wire.states import Door


@dataclass(frozen=True, slots=True)
class Linked:
    """An account elsewhere with which somebody can sign in."""

    provider: str
    name: str


def sign_in(came: Arrival, user_agent: str, address: str) -> str | None:
    """Return a new login's token for who came back, or None where they only linked their account.

    Raises NotAllowed where they may not in, BadInput where what they want cannot be linked.
    """
    if came.purpose.link:
        link(came, came.purpose.link, came.purpose.login)
        return None
    try:
        user = _discord(came) if came.provider == DISCORD else _other(came)
        return _begin(came, user, user_agent, address)
    except (NotAllowed, NotFound, BadInput):
        with transaction() as tx:
            audit.record(tx, "anonymous", Door.WEB, "login.refused", address=address, how=came.provider)
        raise


def _begin(came: Arrival, user: UUID, user_agent: str, address: str) -> str:
    with transaction() as tx:
        found = tx.get_one(User, user)
        if found.disabled_at is not None:
            raise NotAllowed("Your account here is shut. Ask an administrator of this platform.")
        token = logins.begin(tx, user, came.provider, user_agent, address)
        audit.record(tx, found.name, Door.WEB, "login", address=address, how=came.provider)
        return token


def link(came: Arrival, user: str, login: str) -> None:
    """Let an account be signed in to with who came back; raise NotSignedIn where the login that began this has ended."""
    if came.provider == DISCORD:
        links.attach(user, int(came.subject), came.name, Door.WEB, login)
        return
    with transaction() as tx:
        logins.stand(tx, login, user)
        known = tx.get(Identity, (came.provider, came.subject))
        if known is not None and str(known.user_id) != user:
            raise BadInput("That is linked to another account here already: unlink it there first.")
        if known is None:
            _add(tx, came, tx.get_one(User, UUID(user)))


def unlink(who: Person, provider: str) -> None:
    """Take a link apart; raise BadInput where nothing is linked, or it is the only way in."""
    with transaction() as tx:
        if tx.get_one(User, UUID(who.id)).password_hash is None:
            raise BadInput("This is the only way to sign in to this account. Set a password first.")
        mine = delete(Identity).where(Identity.user_id == UUID(who.id), Identity.provider == provider)
        ended = tx.scalars(mine.returning(Identity.subject)).all()
        if ended:
            audit.record(tx, who.name, Door.WEB, "unlink", who.name, provider=provider)
    if not ended:
        raise BadInput("Nothing is linked there.")


def listed(who: Person) -> list[Linked]:
    """Return with what else than a password somebody can sign in."""
    with transaction() as tx:
        query = select(Identity).where(Identity.user_id == UUID(who.id)).order_by(Identity.provider)
        found = [Linked(one.provider, one.name) for one in tx.scalars(query)]
    if discord := links.discord_of(who.id, own=True):
        found.append(Linked(DISCORD, discord[1]))
    return found


def _discord(came: Arrival) -> UUID:
    """Go by the same rule as commands in Discord do; the guild rules over accounts that were made there."""
    discord = int(came.subject)
    if links.user_of(discord) is None and came.purpose.invitation:
        with transaction() as tx:
            user = _invited(tx, came)
        links.attach(str(user.id), discord, came.name, Door.WEB)
        return user.id
    person = links.enter(discord, came.name, came.roles)
    membership.rule(discord, links.role_of(came.roles))
    return UUID(person.id)


def _other(came: Arrival) -> UUID:
    with transaction() as tx:
        known = tx.get(Identity, (came.provider, came.subject))
        if known is not None:
            return known.user_id
        if came.purpose.invitation:
            user = _invited(tx, came)
        elif settings().oidc_people == "anyone":
            user = accounts.make(tx, _free(tx, came.name), None, "member", came.provider, Door.WEB)
        else:
            raise NotAllowed("Nobody here is linked with that. Sign in and link it on your account's page, or bring an invitation.")
        _add(tx, came, user)
        return user.id


def _invited(tx: Transaction, came: Arrival) -> User:
    role, invitation = invitations.admit(tx, came.purpose.invitation)
    user = accounts.make(tx, _free(tx, came.name), None, role, came.provider, Door.WEB)
    if invitation is not None:
        invitations.use(invitation, user)
    return user


def _add(tx: Transaction, came: Arrival, user: User) -> None:
    tx.flush()
    tx.add(Identity(provider=came.provider, subject=came.subject, user_id=user.id, name=came.name[:64]))
    audit.record(tx, user.name, Door.WEB, "link", user.name, provider=came.provider)


def _free(tx: Transaction, wish: str) -> str:
    """Return a name that nobody has, as near to the wish as can be."""
    name = re.sub(r"[^\w.-]+", "-", accounts.spelt(wish)).strip("-")[:48]
    try:
        name = accounts.check_name(name)
    except BadInput:  # They do not choose it here, and shall get in all the same.
        name = "someone"
    while tx.scalar(select(User.id).where(User.name == name)):
        name = f"{name[:48]}-{secrets.randbelow(10_000)}"
    return name
