"""The tables. What people write (bodies, titles, reasons) is sealed bytes; everything else is metadata."""

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

from app.wire.states import TurnState


def new_id() -> UUID:
    """Return a UUIDv7: unique without asking anyone, and in the order of making."""
    return uuid7()


def now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """The tables' common ground; constraints get names so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {datetime: DateTime(timezone=True), dict[str, Any]: JSONB, bytes: LargeBinary}


class User(Base):
    """A person, or a guest who is one for as long as their login lasts."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    """As typed at sign-in, in lower case."""
    password_hash: Mapped[str | None]
    role: Mapped[str] = mapped_column(String(16), default="member")
    created_at: Mapped[datetime] = mapped_column(default=now)
    disabled_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("role in ('owner', 'admin', 'member', 'guest')", name="role"),)


class Login(Base):
    """What a browser's cookie stands for; the cookie itself is kept as a hash only."""

    __tablename__ = "logins"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    user_agent: Mapped[str] = mapped_column(String(200), default="")
    address: Mapped[str] = mapped_column(String(64), default="")


class ApiToken(Base):
    """A token for programs, shown once and kept as a hash."""

    __tablename__ = "api_tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64), default="")
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    unlimited: Mapped[bool] = mapped_column(default=False)
    """Free of rate limits: for the platform's own command line and for load tests."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Session(Base):
    """One conversation."""

    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[bytes | None]
    """Sealed."""
    node: Mapped[str | None] = mapped_column(String(64))
    """The node that answered last and may still have the conversation in its prompt cache."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    closed_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_sessions_user_id_updated_at", "user_id", "updated_at"),)


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

    __table_args__ = (CheckConstraint("role in ('user', 'assistant')", name="role"),)


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
    sampling: Mapped[dict[str, Any]] = mapped_column(default=dict)
    left_out: Mapped[int] = mapped_column(default=0)
    """How many of the oldest messages did not fit the model's context."""
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    tokens_per_second: Mapped[float | None]
    reason: Mapped[bytes | None]
    """Why it failed, sealed: it may carry the engine's own words."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    leased_at: Mapped[datetime | None]
    """When the newest attempt was sent to its node."""
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("session_id", "client_id"),
        CheckConstraint("state in ('queued', 'running', 'done', 'failed', 'cancelled')", name="state"),
        # What the sweeper reads every few seconds: only the unfinished, however many turns there ever were.
        Index("ix_turns_unfinished", "created_at", postgresql_where="state in ('queued', 'running')"),
    )


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


class Metric(Base):
    """One finished turn in figures; never any text."""

    __tablename__ = "metrics"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    turn_id: Mapped[UUID]
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    outcome: Mapped[str] = mapped_column(String(16))
    door: Mapped[str] = mapped_column(String(16))
    lane: Mapped[str | None] = mapped_column(String(16))
    node: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[str | None] = mapped_column(String(128))
    queue_ms: Mapped[float | None]
    first_token_ms: Mapped[float | None]
    prompt_ms: Mapped[float | None]
    total_ms: Mapped[float | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    tokens_per_second: Mapped[float | None]

    __table_args__ = (UniqueConstraint("turn_id", "attempt"),)


class AuditRecord(Base):
    """Who did what from which door; each record holds the hash of the one before."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Counted without holes, so that a removed record shows."""
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(64))
    door: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(128), default="")
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    previous: Mapped[bytes]
    hash: Mapped[bytes]
