"""Whose turns wait how long: weights and limits that an administrator has set."""

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base


class Share(Base):
    """What a role or a person has of the queue, where it is not what the settings say."""

    __tablename__ = "shares"

    scope: Mapped[str] = mapped_column(String(80), primary_key=True)
    """`role:member`, or `user:` and an account's id; the person's own goes before the role's."""
    weight: Mapped[int | None]
    """Turns in a round of the queue, 1 to 10."""
    running: Mapped[int | None]
    """Turns that may run at once; 0: as many as there are slots."""
    waiting: Mapped[int | None]
    """Turns that may wait."""

    __table_args__ = (CheckConstraint("weight between 1 and 10 and running >= 0 and waiting >= 1", name="sound"),)
