"""What is measured; never any text."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Identity, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, now


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
