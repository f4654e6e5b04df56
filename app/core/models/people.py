"""The people: accounts, logins, tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, String, func
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
    seen_at: Mapped[datetime] = mapped_column(default=now, server_default=func.now())
    """True to the minute."""
    how: Mapped[str] = mapped_column(String(16), default="password", server_default="password")
    """`password`, `guest`, or the provider that said who they are."""
    user_agent: Mapped[str] = mapped_column(String(200), default="")
    address: Mapped[str] = mapped_column(String(64), default="")


class Invitation(Base):
    """A link that lets one person make an account; kept as a hash."""

    __tablename__ = "invitations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    code_hash: Mapped[bytes] = mapped_column(unique=True)
    role: Mapped[str] = mapped_column(String(16), default="member")
    note: Mapped[str] = mapped_column(String(64), default="")
    """Whom it is for, in the words of whoever made it."""
    made_by: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (CheckConstraint("role in ('owner', 'admin', 'member')", name="role"),)


class Identity(Base):
    """Who somebody is at another provider."""

    __tablename__ = "identities"

    provider: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64), default="")
    """What they are called there, for people to read."""
    created_at: Mapped[datetime] = mapped_column(default=now)


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
