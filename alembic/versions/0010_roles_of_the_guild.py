"""Which role of an account the guild has given it."""

import sqlalchemy as sa

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("discord_links", sa.Column("given", sa.String(16), nullable=True))


def downgrade() -> None:
    op.drop_column("discord_links", "given")
