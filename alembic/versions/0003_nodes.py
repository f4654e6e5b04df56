"""What dispatch and nodes keep."""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("redis_sha256", sa.String(64), nullable=True))
    op.add_column("nodes", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("nodes", "removed_at")
    op.drop_column("nodes", "redis_sha256")
