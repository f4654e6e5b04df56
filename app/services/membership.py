"""What the guild says of people, after they signed in by it: a role while they hold it, a way in while they are members."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.orm import Session as Transaction

from app.core.config import settings
from app.core.db import transaction
from app.core.models import ApiToken, DiscordLink, Identity, Login, User, now
from app.services import audit, logins
from app.services.providers import DISCORD
from app.services.rights import Rank
from app.wire.states import Door

BELOW: Final = (None, Rank.MEMBER.value)
"""What anybody is without a role in the guild, and so nothing to look after."""


def rule(discord_id: int, role: str | None) -> None:
    """Give an account that was made in Discord the role that its owner holds in the guild as they sign in."""

    def ruled(tx: Transaction, link: DiscordLink, user: User) -> list[bytes]:
        if not link.own:
            return []
        link.given = None if role in BELOW else role
        return _become(tx, user, role or Rank.MEMBER)

    _changed(discord_id, ruled)


def follow(tx: Transaction, link: DiscordLink, user: User, role: str | None) -> list[bytes]:
    """Take from an account what the guild had given it and gives no more; return the logins to `tell` of after the commit."""
    if link.given is None or role == link.given:
        return []
    before, link.given = link.given, None
    # What somebody here gave them meanwhile is theirs.
    return _become(tx, user, role or Rank.MEMBER) if user.role == before else []


def looked(discord_id: int, role: str | None) -> None:
    """Note which role of ours somebody holds in the guild now."""
    _changed(discord_id, lambda tx, link, user: follow(tx, link, user, role))


def left(discord_id: int) -> None:
    """Note that somebody is in the guild no more: what they had by it ends."""

    def gone(tx: Transaction, link: DiscordLink, user: User) -> list[bytes]:
        touched = follow(tx, link, user, None)
        if settings().discord_sign_in != "guild":
            return touched
        ended = list(
            tx.scalars(delete(Login).where(Login.user_id == user.id, Login.how == DISCORD).returning(Login.token_hash))
        )
        elsewhere = tx.scalar(select(Identity.provider).where(Identity.user_id == user.id).limit(1))
        if link.own and user.password_hash is None and elsewhere is None:
            mine = update(ApiToken).where(ApiToken.user_id == user.id, ApiToken.revoked_at.is_(None))
            ended += tx.scalars(mine.values(revoked_at=now()).returning(ApiToken.token_hash))
        if ended:
            audit.record(tx, user.name, Door.DISCORD, "login.end_all", user.name, how="left the guild", count=len(ended))
        return touched + ended

    _changed(discord_id, gone)


def watched() -> list[int]:
    """Return the Discord ids of those who have something that hangs on the guild."""
    held = exists().where(Login.user_id == DiscordLink.user_id, Login.how == DISCORD, Login.expires_at > now())
    programs = exists().where(ApiToken.user_id == DiscordLink.user_id, ApiToken.revoked_at.is_(None))
    hangs: list[ColumnElement[bool]] = [DiscordLink.given.is_not(None)]
    if settings().discord_client_id and settings().discord_sign_in == "guild":
        hangs += [held, DiscordLink.own & programs]
    with transaction() as tx:
        return list(tx.scalars(select(DiscordLink.discord_id).where(or_(*hangs)).order_by(DiscordLink.discord_id)))


def _become(tx: Transaction, user: User, role: str) -> list[bytes]:
    if user.role == role:
        return []
    user.role = role
    audit.record(tx, user.name, Door.DISCORD, "user.role", user.name, role=role, how=DISCORD)
    return logins.changed(tx, user.id)


def _changed(discord_id: int, change: Callable[[Transaction, DiscordLink, User], list[bytes]]) -> None:
    with transaction() as tx:
        query = select(DiscordLink, User).join(User, User.id == DiscordLink.user_id)
        found = tx.execute(query.where(DiscordLink.discord_id == discord_id).with_for_update()).first()
        if found is None:
            return
        touched, user = change(tx, found[0], found[1]), found[1].id
    if touched:
        logins.tell(user, touched)
