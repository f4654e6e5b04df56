"""Figures by the day, and a turn's hops."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0007"
down_revision = "0006"

WORDS = [("outcome", 16, False), ("door", 16, False), ("lane", 16, True), ("node", 64, True), ("model", 128, True)]
FIGURES = ["queue_ms", "first_token_ms", "prompt_ms", "total_ms"]
COLUMNS = [name for name, _, _ in WORDS] + FIGURES + ["prompt_tokens", "completion_tokens", "tokens_per_second"]


def figures() -> list[sa.Column]:
    return [
        *(sa.Column(name, sa.String(length), nullable=empty) for name, length, empty in WORDS),
        *(sa.Column(name, sa.Double(), nullable=True) for name in FIGURES),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("tokens_per_second", sa.Double(), nullable=True),
    ]


def upgrade() -> None:
    op.add_column("turns", sa.Column("hops", postgresql.JSONB(), nullable=True))
    op.create_index("ix_turns_finished_at", "turns", ["finished_at"])
    op.execute("alter table metrics rename to metrics_whole")
    op.execute("alter index pk_metrics rename to pk_metrics_whole")
    op.execute("alter index ix_metrics_at rename to ix_metrics_whole_at")
    op.create_table(
        "metrics",
        sa.Column("turn_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        *figures(),
        sa.PrimaryKeyConstraint("turn_id", "attempt", "at", name=op.f("pk_metrics")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("ix_metrics_at", "metrics", ["at"])
    op.create_table(
        "samples",
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", "at", name=op.f("pk_samples")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("ix_samples_at", "samples", ["at"])
    _rollups()
    # What was measured before lies in one table: each of its days becomes a partition.
    op.execute(
        """
        do $$
        declare day date;
        begin
          for day in select distinct (at at time zone 'UTC')::date from metrics_whole order by 1 loop
            execute format('create table %I partition of metrics for values from (%L) to (%L)',
              'metrics_' || to_char(day, 'YYYYMMDD'), day || ' 00:00:00+00', (day + 1) || ' 00:00:00+00');
          end loop;
        end $$
        """
    )
    words = ", ".join(f"old.{name}" for name in COLUMNS)
    op.execute(
        f"insert into metrics (turn_id, attempt, at, user_id, {', '.join(COLUMNS)}) "  # noqa: S608 - our own names
        f"select old.turn_id, old.attempt, old.at, turns.user_id, {words} "
        "from metrics_whole old left join turns on turns.id = old.turn_id"
    )
    op.execute("insert into rollup_marks (name, upto) select 'metrics', min(at) from metrics having count(*) > 0")
    op.drop_table("metrics_whole")


def _rollups() -> None:
    op.create_table(
        "metric_rollups",
        sa.Column("span", sa.String(1), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.String(length), nullable=False) for name, length in (("node", 64), ("model", 128))),
        *(sa.Column(name, sa.String(16), nullable=False) for name in ("lane", "door", "outcome")),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("busy_ms", sa.Double(), nullable=False),
        sa.Column("speed_total", sa.Double(), nullable=False),
        sa.Column("speed_turns", sa.Integer(), nullable=False),
        sa.Column("queue_counts", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("first_counts", sa.ARRAY(sa.Integer()), nullable=False),
        sa.PrimaryKeyConstraint(
            "span", "at", "node", "model", "lane", "door", "outcome", name=op.f("pk_metric_rollups")
        ),
    )
    op.create_table(
        "usage_rollups",
        sa.Column("span", sa.String(1), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("span", "user_id", "at", name=op.f("pk_usage_rollups")),
    )
    op.create_index("ix_usage_rollups_span_at", "usage_rollups", ["span", "at"])
    op.create_table(
        "sample_rollups",
        sa.Column("span", sa.String(1), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.Column("most", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("span", "kind", "subject", "at", name=op.f("pk_sample_rollups")),
    )
    op.create_table(
        "rollup_marks",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("upto", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rollup_marks")),
    )


def downgrade() -> None:
    op.create_table(
        "metrics_whole",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("turn_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *figures(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metrics_whole")),
    )
    words = ", ".join(["turn_id", "attempt", "at", *COLUMNS])
    op.execute(f"insert into metrics_whole ({words}) select {words} from metrics")  # noqa: S608 - our own names
    for table in ("metrics", "samples", "metric_rollups", "usage_rollups", "sample_rollups", "rollup_marks"):
        op.drop_table(table)
    op.rename_table("metrics_whole", "metrics")
    op.execute("alter index pk_metrics_whole rename to pk_metrics")
    op.create_index("ix_metrics_at", "metrics", ["at"])
    op.create_unique_constraint("uq_metrics_turn_id", "metrics", ["turn_id", "attempt"])
    op.drop_index("ix_turns_finished_at", "turns")
    op.drop_column("turns", "hops")
