"""What people say: sessions, messages, turns. Bodies, titles and reasons are sealed bytes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, new_id, now
from app.wire.states import Door, TurnState


class Session(Base):
    """One conversation."""

    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[bytes | None]
    """Sealed."""
    door: Mapped[str] = mapped_column(String(16), default=Door.WEB.value, server_default=Door.WEB.value)
    """Where it came in, or got its title. One of the API stands in no list of conversations: its client keeps its own."""
    node: Mapped[str | None] = mapped_column(String(64))
    """The node that answered last and may still have the conversation in its prompt cache."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_sessions_user_id_updated_at", "user_id", "updated_at"),
        # What lists read, from any place in them on, however much of the API's or of the archive lies between.
        Index("ix_sessions_open", "user_id", "updated_at", "id", postgresql_where="closed_at is null and door <> 'api'"),
        Index("ix_sessions_closed", "user_id", "closed_at", "id", postgresql_where="closed_at is not null"),
        # What retention reads: only the API's, however many conversations people have.
        Index("ix_sessions_api", "updated_at", postgresql_where="door = 'api'"),
        # For the sessions that have long been idle, whoever's they are.
        Index("ix_sessions_updated_at", "updated_at"),
    )


class Message(Base):
    """A prompt or a reply; a tree, since an edited prompt begins a branch beside the old one."""

    __tablename__ = "messages"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    body: Mapped[bytes]
    """Sealed."""
    created_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (CheckConstraint("role in ('system', 'user', 'assistant')", name="role"),)


class Turn(Base):
    """One prompt and its reply; the row is the outbox from which everything else can be rebuilt."""

    __tablename__ = "turns"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    client_id: Mapped[UUID]
    """Made by whoever sent the prompt; the same one twice is the same turn."""
    prompt_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    reply_id: Mapped[UUID | None] = mapped_column(ForeignKey("messages.id", ondelete="SET NULL"), index=True)
    door: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), default=TurnState.QUEUED.value)
    attempt: Mapped[int] = mapped_column(default=0)
    """The newest attempt: the fence. 0 while none was made."""
    stopped: Mapped[bool] = mapped_column(default=False)
    """A person asked for its end; whoever has it next ends it."""
    node: Mapped[str | None] = mapped_column(String(64))
    lane: Mapped[str | None] = mapped_column(String(16))
    model: Mapped[str | None] = mapped_column(String(128))
    wanted_model: Mapped[str | None] = mapped_column(String(128))
    """The model that was asked for; only a node that has it takes the turn."""
    sampling: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Figures only."""
    form: Mapped[bytes | None]
    """What the reply shall look like, where that was asked for in words (stop texts, a JSON schema), sealed."""
    left_out: Mapped[int] = mapped_column(default=0)
    """How many of the oldest messages did not fit the model's context."""
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    tokens_per_second: Mapped[float | None]
    finish_reason: Mapped[str | None] = mapped_column(String(32))
    """`stop` or `length`, as the engine said."""
    reason: Mapped[bytes | None]
    """Why it failed, sealed: it may carry the engine's own words."""
    hops: Mapped[dict[str, Any] | None]
    """When it came by where, in milliseconds of Redis' clock (app.wire.hops)."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    leased_at: Mapped[datetime | None]
    """When the newest attempt was sent to its node."""
    finished_at: Mapped[datetime | None] = mapped_column(index=True)

    __table_args__ = (
        UniqueConstraint("session_id", "client_id"),
        CheckConstraint("state in ('queued', 'running', 'done', 'failed', 'cancelled')", name="state"),
        # What the sweeper reads every few seconds: only the unfinished, however many turns there ever were.
        Index("ix_turns_unfinished", "created_at", postgresql_where="state in ('queued', 'running')"),
    )
