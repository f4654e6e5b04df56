"""Accounts, invitations and how people sign in."""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # The API: its sessions stand in no list, its turns may ask for a form, its tokens have scopes.
    op.add_column("sessions", sa.Column("door", sa.String(16), server_default="web", nullable=False))
    op.create_index("ix_sessions_api", "sessions", ["updated_at"], postgresql_where="door = 'api'")
    op.drop_constraint("role", "messages", type_="check")
    op.create_check_constraint("role", "messages", "role in ('system', 'user', 'assistant')")
    op.add_column("turns", sa.Column("form", sa.LargeBinary()))
    op.add_column("turns", sa.Column("finish_reason", sa.String(32)))
    op.add_column("api_tokens", sa.Column("scopes", sa.String(64), server_default="chat read", nullable=False))

    # Logins say how and when; people come by invitation, or from another provider.
    op.add_column("logins", sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False))
    op.add_column("logins", sa.Column("how", sa.String(16), server_default="password", nullable=False))
    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("note", sa.String(64), nullable=False),
        sa.Column("made_by", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        sa.Column("used_by", sa.String(64)),
        sa.CheckConstraint("role in ('owner', 'admin', 'member')", name="role"),
    )
    op.create_table(
        "identities",
        sa.Column("provider", sa.String(16), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("identities")
    op.drop_table("invitations")
    op.drop_column("logins", "how")
    op.drop_column("logins", "seen_at")
    op.drop_column("api_tokens", "scopes")
    op.drop_column("turns", "finish_reason")
    op.drop_column("turns", "form")
    op.execute("delete from sessions where door = 'api'")  # Only they have messages of that role.
    op.drop_constraint("role", "messages", type_="check")
    op.create_check_constraint("role", "messages", "role in ('user', 'assistant')")
    op.drop_index("ix_sessions_api", "sessions")
    op.drop_column("sessions", "door")
