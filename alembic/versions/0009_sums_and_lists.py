"""Sums ready for the page, and lists that begin anywhere."""

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"

BUCKETS = 29
"""How many counts each array of `metric_rollups` holds at this revision."""


def upgrade() -> None:
    op.create_table(
        "metric_sums",
        sa.Column("span", sa.String(1), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("about", sa.String(8), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("speed_total", sa.Double(), nullable=False),
        sa.Column("speed_turns", sa.Integer(), nullable=False),
        sa.Column("queue_counts", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("first_counts", sa.ARRAY(sa.Integer()), nullable=False),
        sa.PrimaryKeyConstraint("span", "at", "about", "name", name=op.f("pk_metric_sums")),
    )
    counts = (
        "array[" + ", ".join(f"sum({column}[{index + 1}])" for index in range(BUCKETS)) + "]::int[]"
        for column in ("queue_counts", "first_counts")
    )
    op.execute(
        "insert into metric_sums (span, at, about, name, turns, failed, cancelled, prompt_tokens, completion_tokens, "  # noqa: S608 - our own words
        "speed_total, speed_turns, queue_counts, first_counts) select span, at, "
        "case grouping(node, model) when 3 then 'all' when 1 then 'node' else 'model' end, coalesce(node, model, ''), "
        "sum(turns), coalesce(sum(turns) filter (where outcome = 'failed'), 0), "
        "coalesce(sum(turns) filter (where outcome = 'cancelled'), 0), sum(prompt_tokens), sum(completion_tokens), "
        f"sum(speed_total), sum(speed_turns), {', '.join(counts)} from metric_rollups "
        "group by span, at, grouping sets ((), (node), (model))"
    )
    op.create_index("ix_sample_rollups_span_at", "sample_rollups", ["span", "at"])
    # A list goes on behind the last one shown, however much of the API's or of the archive lies between.
    op.create_index(
        "ix_sessions_open", "sessions", ["user_id", "updated_at", "id"],
        postgresql_where=sa.text("closed_at is null and door <> 'api'"),
    )  # fmt: skip
    op.create_index(
        "ix_sessions_closed", "sessions", ["user_id", "closed_at", "id"], postgresql_where=sa.text("closed_at is not null")
    )


def downgrade() -> None:
    op.drop_index("ix_sessions_closed", table_name="sessions")
    op.drop_index("ix_sessions_open", table_name="sessions")
    op.drop_index("ix_sample_rollups_span_at", table_name="sample_rollups")
    op.drop_table("metric_sums")
