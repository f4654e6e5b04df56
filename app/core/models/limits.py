"""How much people may use, where it is not as the platform has it by itself."""

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, now


class Limit(Base):
    """One limit of a role, a user, a token or an address."""

    __tablename__ = "limits"

    scope: Mapped[str] = mapped_column(String(64), primary_key=True)
    """`role:member`, `user:<id>`, `token:<id>` or `address`."""
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    value: Mapped[int | None] = mapped_column(BigInteger)
    """None: without limit."""
    changed_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
