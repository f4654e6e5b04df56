"""What is kept outside of the database, and when things are done by themselves: transcripts, backups, the schedule."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, now


class Transcript(Base):
    """The pointer to a session's transcript; the row is the outbox, so none that was asked for is lost."""

    __tablename__ = "transcripts"

    session_id: Mapped[UUID] = mapped_column(primary_key=True)
    """No foreign key: when a session is deleted, its object is still to be found and removed."""
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    why: Mapped[str] = mapped_column(String(16))
    key: Mapped[str | None] = mapped_column(String(256))
    """Of the newest object; while another one waits, this one is still there."""
    sha256: Mapped[str | None] = mapped_column(String(64))
    """Of the lines, before they are packed and sealed."""
    size: Mapped[int | None] = mapped_column(BigInteger)
    """Bytes of the object."""
    messages: Mapped[int | None]
    covers: Mapped[datetime | None]
    """The session's `updated_at` when it was read: a later one means that the object is out of date."""
    tries: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(String(300))
    asked_at: Mapped[datetime] = mapped_column(default=now)
    stored_at: Mapped[datetime | None] = mapped_column(index=True)

    __table_args__ = (
        CheckConstraint("state in ('waiting', 'stored', 'expired')", name="state"),
        Index("ix_transcripts_waiting", "asked_at", postgresql_where="state = 'waiting'"),
    )


class Backup(Base):
    """One backup, from the moment it was asked for; the manifest beside it in the object store is what counts."""

    __tablename__ = "backups"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Its time in UTC and four random letters: the folder's name in the object store."""
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    actor: Mapped[str] = mapped_column(String(64))
    door: Mapped[str] = mapped_column(String(16))
    phase: Mapped[str] = mapped_column(String(32), default="")
    share: Mapped[float] = mapped_column(default=0.0)
    """How much of the phase is done, 0 to 1."""
    size: Mapped[int | None] = mapped_column(BigInteger)
    revision: Mapped[str | None] = mapped_column(String(32))
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Counts by table, and what the proof found."""
    error: Mapped[str | None] = mapped_column(String(300))
    asked_at: Mapped[datetime] = mapped_column(default=now)
    taken_at: Mapped[datetime | None]
    proven_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("state in ('waiting', 'running', 'taken', 'proven', 'failed')", name="state"),
    )


class Scheduled(Base):
    """One entry of the schedule: when it ran last and runs next; its row lock keeps two beats apart."""

    __tablename__ = "schedule"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    every: Mapped[str] = mapped_column(String(64))
    """In words, or in cron's form."""
    last_run_at: Mapped[datetime]
    next_run_at: Mapped[datetime]
    runs: Mapped[int] = mapped_column(BigInteger, default=0)
