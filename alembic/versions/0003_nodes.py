"""What dispatch and nodes keep: shares of the queue, the model a turn asks for, a node's password and its end."""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("scope", sa.String(length=80), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=True),
        sa.Column("running", sa.Integer(), nullable=True),
        sa.Column("waiting", sa.Integer(), nullable=True),
        sa.CheckConstraint("weight between 1 and 10 and running >= 0 and waiting >= 1", name=op.f("ck_shares_sound")),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_shares")),
    )
    op.add_column("turns", sa.Column("wanted_model", sa.String(length=128), nullable=True))
    op.add_column("nodes", sa.Column("redis_sha256", sa.String(64), nullable=True))
    op.add_column("nodes", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("nodes", "removed_at")
    op.drop_column("nodes", "redis_sha256")
    op.drop_column("turns", "wanted_model")
    op.drop_table("shares")
