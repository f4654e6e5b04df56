"""What keeps the platform safe: the changes of its master key, and who is being deleted."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, new_id, now


class Erasure(Base):
    """Somebody who is being deleted; gone when nothing of them is left."""

    __tablename__ = "erasures"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    """No foreign key: it outlives the row of the user by a moment."""
    asked_at: Mapped[datetime] = mapped_column(default=now)


class KeyRotation(Base):
    """One change of the master key, and how far it is; the keys themselves are never here."""

    __tablename__ = "key_rotations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    mark: Mapped[str] = mapped_column(String(16))
    """Names the new key without telling anything of it."""
    phase: Mapped[str] = mapped_column(String(16))
    place: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Which table the re-sealing is in, and behind which id it goes on."""
    total: Mapped[int] = mapped_column(BigInteger, default=0)
    done: Mapped[int] = mapped_column(BigInteger, default=0)
    changed: Mapped[int] = mapped_column(BigInteger, default=0)
    begun_at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime | None]
    """When the new key began to seal."""
    finished_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("phase in ('learn', 'reseal', 'settle', 'check', 'done')", name="phase"),)
