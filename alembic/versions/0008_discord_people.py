"""people in Discord."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision: str = '0008'
down_revision: str | None = '0007'
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table('discord_links',
    sa.Column('discord_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('user_id', sa.Uuid(), nullable=False),
    sa.Column('own', sa.Boolean(), nullable=False),
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_discord_links_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('discord_id', name=op.f('pk_discord_links')),
    sa.UniqueConstraint('user_id', name=op.f('uq_discord_links_user_id'))
    )
    op.create_table('discord_link_codes',
    sa.Column('user_id', sa.Uuid(), nullable=False),
    sa.Column('code_hash', sa.LargeBinary(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_discord_link_codes_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('user_id', name=op.f('pk_discord_link_codes')),
    sa.UniqueConstraint('code_hash', name=op.f('uq_discord_link_codes_code_hash'))
    )
    op.create_table('discord_chats',
    sa.Column('channel_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('discord_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('session_id', sa.Uuid(), nullable=False),
    sa.Column('thread', sa.Boolean(), nullable=False),
    sa.Column('handled_id', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['session_id'], ['sessions.id'], name=op.f('fk_discord_chats_session_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('channel_id', 'discord_id', name=op.f('pk_discord_chats'))
    )
    op.create_index(op.f('ix_discord_chats_session_id'), 'discord_chats', ['session_id'], unique=False)
    op.create_table('discord_answers',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('turn_id', sa.Uuid(), nullable=True),
    sa.Column('channel_id', sa.BigInteger(), nullable=False),
    sa.Column('messages', postgresql.ARRAY(sa.BigInteger()), nullable=False),
    sa.Column('quoted', sa.Boolean(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['turn_id'], ['turns.id'], name=op.f('fk_discord_answers_turn_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_discord_answers'))
    )
    op.create_index(op.f('ix_discord_answers_turn_id'), 'discord_answers', ['turn_id'], unique=False)
    op.create_table('discord_trees',
    sa.Column('guild_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('application_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('digest', sa.LargeBinary(), nullable=False),
    sa.Column('synced_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('guild_id', 'application_id', name=op.f('pk_discord_trees'))
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table('discord_trees')
    op.drop_index(op.f('ix_discord_answers_turn_id'), table_name='discord_answers')
    op.drop_table('discord_answers')
    op.drop_index(op.f('ix_discord_chats_session_id'), table_name='discord_chats')
    op.drop_table('discord_chats')
    op.drop_table('discord_link_codes')
    op.drop_table('discord_links')
