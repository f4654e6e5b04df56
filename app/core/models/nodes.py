"""The machines that answer, and the channels in Discord."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, new_id, now


class Node(Base):
    """A machine that answers prompts."""

    __tablename__ = "nodes"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    slots: Mapped[int]
    lane: Mapped[str] = mapped_column(String(16), default="queue")
    discord_id: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    """The user id of its Client-Bot."""
    draining: Mapped[bool] = mapped_column(default=False)
    """It is given no more turns."""
    redis_sha256: Mapped[str | None] = mapped_column(String(64))
    """Of the password of a node that was invited; None where `up` keeps it, or where the node has no queue lane."""
    removed_at: Mapped[datetime | None]
    """A node that was shut out; the row stays, so that its name, and with it its keys, is not given again."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime | None]


class Channel(Base):
    """A channel of ours in Discord: a session's, or the one in which a node is spoken to."""

    __tablename__ = "channels"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    session_id: Mapped[UUID | None] = mapped_column(unique=True)
    """No foreign key: when a session is deleted, its channel is still to be found and removed."""
    node: Mapped[str | None] = mapped_column(String(64), unique=True)
    discord_id: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    """None while there is no such channel: it was removed to make room, or by hand, and is made anew when needed."""
    handled_id: Mapped[int] = mapped_column(BigInteger, default=0)
    """The newest message that was fully handled; after a gap the channel is read from here on."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime] = mapped_column(default=now, index=True)

    __table_args__ = (CheckConstraint("(session_id is null) <> (node is null)", name="purpose"),)
