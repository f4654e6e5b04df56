"""People in Discord: who is whom, where they go on, which replies are being shown there, what was synced."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, now


class DiscordLink(Base):
    """Which account somebody in Discord uses."""

    __tablename__ = "discord_links"

    discord_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)
    own: Mapped[bool] = mapped_column(default=False)
    """Made for them when they first used the bot; it has no password, and merges into the account they link later."""
    name: Mapped[str] = mapped_column(String(64), default="")
    """What they are called in Discord, for people to read."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    given: Mapped[str | None] = mapped_column(String(16))
    """The role above a member's that the account has only because the guild gave it, as long as it does."""


class LinkCode(Base):
    """A one-time code that the page shows and `/link` takes; kept as a hash."""

    __tablename__ = "discord_link_codes"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(unique=True)
    expires_at: Mapped[datetime]


class DiscordChat(Base):
    """Which session somebody goes on with in one channel or thread."""

    __tablename__ = "discord_chats"

    channel_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    discord_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    thread: Mapped[bool] = mapped_column(default=False)
    """A thread of `/chat`, in which what they say is a turn; elsewhere only `/ask` is."""
    handled_id: Mapped[int] = mapped_column(BigInteger, default=0)
    """The newest message in a thread that was taken in; after a gap it is read from here on."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class DiscordAnswer(Base):
    """A reply that is being shown in Discord; whoever is the Server-Bot after a restart goes on with it."""

    __tablename__ = "discord_answers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """The client id of its turn, so that the turn is found even where its own id was not written down any more."""
    turn_id: Mapped[UUID | None] = mapped_column(ForeignKey("turns.id", ondelete="CASCADE"), index=True)
    channel_id: Mapped[int] = mapped_column(BigInteger)
    messages: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    """The messages that show it, in their order."""
    quoted: Mapped[bool] = mapped_column(default=True)
    """Whether its prompt is shown above it: not where that stands there as a message of its own."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class DiscordTree(Base):
    """The commands as they were last told to Discord: only a change is told again."""

    __tablename__ = "discord_trees"

    guild_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    application_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    digest: Mapped[bytes]
    synced_at: Mapped[datetime] = mapped_column(default=now)
