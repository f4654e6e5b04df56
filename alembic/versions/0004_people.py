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


def downgrade() -> None:
    op.drop_column("api_tokens", "scopes")
    op.drop_column("turns", "finish_reason")
    op.drop_column("turns", "form")
    op.execute("delete from sessions where door = 'api'")  # Only they have messages of that role.
    op.drop_constraint("role", "messages", type_="check")
    op.create_check_constraint("role", "messages", "role in ('user', 'assistant')")
    op.drop_index("ix_sessions_api", "sessions")
    op.drop_column("sessions", "door")
