"""The people: accounts, logins, tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, new_id, now


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
    scopes: Mapped[str] = mapped_column(String(64), default="chat read", server_default="chat read")
    """What it opens, in words apart by spaces (`app.services.tokens.SCOPES`)."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
