"""What is measured; never any text. Rows lie in a partition a day, and in sums of five minutes, hours and days."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, now


class Metric(Base):
    """One finished turn in figures; never any text."""

    __tablename__ = "metrics"

    turn_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True, default=now)
    """When the turn ended, as its row has it: the same turn and attempt always fall into the same day's partition."""
    user_id: Mapped[UUID | None]
    """No foreign key: figures outlive the account that they are about."""
    outcome: Mapped[str] = mapped_column(String(16))
    door: Mapped[str] = mapped_column(String(16))
    lane: Mapped[str | None] = mapped_column(String(16))
    node: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[str | None] = mapped_column(String(128))
    queue_ms: Mapped[float | None]
    first_token_ms: Mapped[float | None]
    prompt_ms: Mapped[float | None]
    total_ms: Mapped[float | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    tokens_per_second: Mapped[float | None]

    __table_args__ = (Index("ix_metrics_at", "at"), {"postgresql_partition_by": "RANGE (at)"})


class Sample(Base):
    """One figure of one thing at one moment: a node's memory, the length of a queue, a wait for Discord."""

    __tablename__ = "samples"

    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    value: Mapped[float]

    __table_args__ = (Index("ix_samples_at", "at"), {"postgresql_partition_by": "RANGE (at)"})


class MetricRollup(Base):
    """The turns of a span (`m` five minutes, `h` an hour, `d` a day) that have all these words in common."""

    __tablename__ = "metric_rollups"

    span: Mapped[str] = mapped_column(String(1), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(String(64), primary_key=True)
    model: Mapped[str] = mapped_column(String(128), primary_key=True)
    lane: Mapped[str] = mapped_column(String(16), primary_key=True)
    door: Mapped[str] = mapped_column(String(16), primary_key=True)
    outcome: Mapped[str] = mapped_column(String(16), primary_key=True)
    turns: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    busy_ms: Mapped[float]
    speed_total: Mapped[float]
    """Sum of the tokens a second of `speed_turns` turns."""
    speed_turns: Mapped[int]
    queue_counts: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    """How many turns waited how long, by app.services.buckets.BOUNDS."""
    first_counts: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    """The same for the time to the first token."""


class MetricSum(Base):
    """The turns of a span once more, as pages read them: all together, by node, and by model."""

    __tablename__ = "metric_sums"

    span: Mapped[str] = mapped_column(String(1), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    about: Mapped[str] = mapped_column(String(8), primary_key=True)
    """`all`, `node` or `model`."""
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    """Of the node or model; empty for all, and for turns that none had."""
    turns: Mapped[int]
    failed: Mapped[int]
    cancelled: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    speed_total: Mapped[float]
    speed_turns: Mapped[int]
    queue_counts: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    first_counts: Mapped[list[int]] = mapped_column(ARRAY(Integer))


class UsageRollup(Base):
    """What one person used in an hour (`h`) or a day (`d`)."""

    __tablename__ = "usage_rollups"

    span: Mapped[str] = mapped_column(String(1), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    turns: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_usage_rollups_span_at", "span", "at"),)


class SampleRollup(Base):
    """The samples of one thing in a span."""

    __tablename__ = "sample_rollups"

    span: Mapped[str] = mapped_column(String(1), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    samples: Mapped[int]
    total: Mapped[float]
    most: Mapped[float]

    __table_args__ = (Index("ix_sample_rollups_span_at", "span", "at"),)


class RollupMark(Base):
    """Up to when the sums are right; whoever adds an older row sets it back."""

    __tablename__ = "rollup_marks"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    upto: Mapped[datetime]
