"""discord channels."""

from collections.abc import Sequence

import sqlalchemy as sa

from alembic import op

revision: str = '0002'
down_revision: str | None = '0001'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table('channels',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('session_id', sa.Uuid(), nullable=True),
    sa.Column('node', sa.String(length=64), nullable=True),
    sa.Column('discord_id', sa.BigInteger(), nullable=True),
    sa.Column('handled_id', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('used_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('(session_id is null) <> (node is null)', name=op.f('ck_channels_purpose')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_channels')),
    sa.UniqueConstraint('discord_id', name=op.f('uq_channels_discord_id')),
    sa.UniqueConstraint('node', name=op.f('uq_channels_node')),
    sa.UniqueConstraint('session_id', name=op.f('uq_channels_session_id'))
    )
    op.create_index(op.f('ix_channels_used_at'), 'channels', ['used_at'], unique=False)
    op.add_column('nodes', sa.Column('discord_id', sa.BigInteger(), nullable=True))
    op.create_unique_constraint(op.f('uq_nodes_discord_id'), 'nodes', ['discord_id'])


def downgrade() -> None:
    """Go back."""
    op.drop_constraint(op.f('uq_nodes_discord_id'), 'nodes', type_='unique')
    op.drop_column('nodes', 'discord_id')
    op.drop_index(op.f('ix_channels_used_at'), table_name='channels')
    op.drop_table('channels')
