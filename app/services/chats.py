"""Which session somebody in Discord goes on with in a channel or thread."""

from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from app.core import keys
from app.core.db import transaction
from app.core.models import DiscordChat, Message, Session, Turn
from app.services import session_list, sessions
from app.wire.errors import NotFound
from app.wire.states import Door


def chosen(channel: int, discord_id: int, user: str) -> str | None:
    """Return the session that somebody goes on with here; None where they begin a new one each time."""
    with transaction() as tx:
        row = tx.get(DiscordChat, (channel, discord_id))
        if row is None:
            return None
        try:
            return str(sessions.owned(tx, str(row.session_id), user).id)
        except NotFound:  # It has another owner since an unlink.
            if not row.thread:
                tx.delete(row)
            return None


def choose(channel: int, discord_id: int, session: str, user: str, *, thread: bool = False) -> None:
    """Go on with one's session here from now on; a thread of `/chat` stays one whatever is talked about in it."""
    with transaction() as tx:
        found = sessions.owned(tx, session, user)
        values = {"channel_id": channel, "discord_id": discord_id, "session_id": found.id, "thread": thread}
        changed = {"session_id": found.id} | ({"thread": True} if thread else {})
        tx.execute(insert(DiscordChat).values(values).on_conflict_do_update(index_elements=["channel_id", "discord_id"], set_=changed))


def leave(channel: int, discord_id: int) -> None:
    """Begin anew here."""
    with transaction() as tx:
        here = delete(DiscordChat).where(DiscordChat.channel_id == channel, DiscordChat.discord_id == discord_id)
        tx.execute(here)


def threads() -> list[int]:
    """Return the threads of `/chat`."""
    with transaction() as tx:
        return list(tx.scalars(select(DiscordChat.channel_id).where(DiscordChat.thread)))


def handled(channel: int, message: int | None = None) -> int:
    """Return the newest message of a thread that was taken in, after noting that this one was, where one is named."""
    with transaction() as tx:
        here = (DiscordChat.channel_id == channel, DiscordChat.thread)
        if message is not None:
            newest = func.greatest(DiscordChat.handled_id, message)
            tx.execute(update(DiscordChat).where(*here).values(handled_id=newest))
        return tx.scalar(select(func.max(DiscordChat.handled_id)).where(*here)) or 0


def in_thread(channel: int, discord_id: int) -> bool:
    """Say whether a channel is somebody's own thread of `/chat`."""
    with transaction() as tx:
        row = tx.get(DiscordChat, (channel, discord_id))
        return row is not None and row.thread


def renew(channel: int, discord_id: int, user: str) -> str:
    """Return the session that somebody goes on with in a thread, a new one where theirs is gone."""
    session = chosen(channel, discord_id, user)
    if session is None:
        session = sessions.create(user).id
        choose(channel, discord_id, session, user, thread=True)
    return session


def titled(user: str, words: str, most: int) -> list[tuple[str, str]]:
    """Return id and title of a person's sessions whose title holds the words, the latest first."""
    return [(one.id, one.title) for one in session_list.page(user, words=words).sessions[:most]]


def titled_in_discord(ids: list[str]) -> set[str]:
    """Return which sessions bear words that were typed in Discord: those of all others are not Discord's to see.

    That is a title given there, or the first words of a prompt from there; not what somebody wrote over it on the page.
    """
    other = aliased(Turn)
    first = select(other.id).where(other.session_id == Session.id).order_by(other.id).limit(1).correlate(Session).scalar_subquery()
    query = select(Session, Turn.door, Message.body).select_from(Session).outerjoin(Turn, Turn.id == first)
    query = query.outerjoin(Message, Message.id == Turn.prompt_id).where(Session.id.in_([UUID(one) for one in ids]))
    with transaction() as tx:
        rows = [(session, door, body) for session, door, body in tx.execute(query)]
    return {str(session.id) for session, door, body in rows if _typed_here(session, door, body)}


def _typed_here(session: Session, door: str | None, body: bytes | None) -> bool:
    if session.door == Door.DISCORD.value:
        return True
    if door is None:  # Nothing was said in it: where it has no title either, it bears no words at all.
        return not sessions.title(session)
    if door != Door.DISCORD.value or body is None:
        return False
    words = keys.rest(str(session.id)).open(body).decode()
    return sessions.title(session) in ("", sessions.shortened(words))


def begun(session: str) -> str:
    """Return when a session was begun, as day and time in UTC."""
    with transaction() as tx:
        found = tx.get(Session, UUID(session))
        return f"{found.created_at:%d %b %Y, %H:%M} UTC" if found else "deleted"


def last(user: str) -> str | None:
    """Return the session in which a person last asked something in Discord; None for none."""
    query = select(Turn.session_id).where(Turn.user_id == UUID(user), Turn.door == Door.DISCORD.value)
    with transaction() as tx:
        found = tx.scalar(query.order_by(Turn.id.desc()).limit(1))
        return str(found) if found else None
