"""The audit trail."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base


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
