"""Figures on real servers: kept once whoever is killed, in the right day's partition, summed to what the rows say."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from app.core import redis, tally
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Metric, MetricRollup, RollupMark, Sample, SampleRollup, Turn
from app.core.presence import Presence
from app.services import buckets, metrics, partitions, plots, rollup, samples, usage
from app.wire import names
from app.wire.states import TurnState
from tests.support import nodes
from tests.support.people import Member
from tests.support.servers import Servers


def figures(at: datetime, **more: Any) -> dict[str, Any]:
    """One turn's, as `turns.end` puts them."""
    return {
        "turn_id": str(uuid4()),
        "attempt": 1,
        "at": at.isoformat(),
        "user_id": str(UUID(int=7)),
        "outcome": "done",
        "door": "web",
        "lane": "queue",
        "node": "home",
        "model": "stand-in",
        "queue_ms": 40.0,
        "first_token_ms": 25.0,
        "prompt_ms": 10.0,
        "total_ms": 900.0,
        "prompt_tokens": 30,
        "completion_tokens": 50,
        "tokens_per_second": 48.0,
        **more,
    }


def count(table: Any, *where: Any) -> int:
    with transaction() as tx:
        return tx.scalar(select(func.count()).select_from(table).where(*where)) or 0


def now() -> datetime:
    return datetime.now(UTC)


def test_a_turn_is_kept_once_with_all_its_figures(servers: Servers, ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    for _ in range(2):
        nodes.finish(job, first_token_ms=12.5, prompt_ms=3.0, tokens_per_second=50.0)
    assert metrics.waiting() == 2, "the second try puts them again: the first may have been killed before it did"
    assert metrics.drain() == 2
    assert metrics.waiting() == 0
    with transaction() as tx:
        [row] = tx.scalars(select(Metric))
        ended = tx.get_one(Turn, UUID(turn)).finished_at
    assert (str(row.turn_id), row.attempt, row.at) == (turn, 1, ended)
    assert (str(row.user_id), row.outcome, row.door, row.lane, row.node) == (ada.id, "done", "web", "queue", "home")
    assert (row.model, row.first_token_ms, row.prompt_ms, row.total_ms) == ("stand-in", 12.5, 3.0, 1000.0)
    assert (row.prompt_tokens, row.completion_tokens, row.tokens_per_second) == (3, 2, 50.0)
    assert row.queue_ms is not None
    assert row.queue_ms >= 0


def test_killed_between_commit_and_removal_nothing_is_lost_or_doubled(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        metrics.put("turn", figures(now()))
    with monkeypatch.context() as patch:
        patch.setattr(type(redis.client()), "xdel", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            metrics.drain()
    assert (count(Metric), metrics.waiting()) == (5, 5)
    metrics.put("turn", figures(now()))
    assert metrics.drain() == 6
    assert (count(Metric), metrics.waiting()) == (6, 0)


def test_what_cannot_be_kept_does_not_hold_up_the_rest(servers: Servers) -> None:
    metrics.put("turn", figures(now(), outcome=None))
    metrics.put("turn", {"at": "yesterday"})
    metrics.put("nonsense", {})
    metrics.put("turn", figures(now()))
    metrics.drain()
    assert (count(Metric), metrics.waiting()) == (1, 0)


def test_a_redis_that_was_emptied_costs_no_figures(servers: Servers, ada: Member) -> None:
    nodes.ready()
    turn = UUID(ada.ask(ada.session()).turn)
    [job] = nodes.jobs()
    nodes.finish(job)
    redis.client().flushall()
    assert (metrics.drain(), metrics.mend()) == (0, 0), "too fresh: its own figures may be on their way"
    with transaction() as tx:
        tx.get_one(Turn, turn).finished_at = now() - timedelta(minutes=5)
    assert (metrics.mend(), metrics.mend()) == (1, 0)
    with transaction() as tx:
        [row] = tx.scalars(select(Metric))
    assert (row.turn_id, row.outcome, row.prompt_tokens, row.user_id) == (turn, TurnState.DONE, 3, UUID(ada.id))


def test_each_day_has_its_partition_made_ahead_or_on_demand_and_dropped_when_over(servers: Servers) -> None:
    old, older = now() - timedelta(days=3), now() - timedelta(days=settings().metrics_days + 2)
    partitions.make_ahead()
    metrics.log_turns([figures(now()), figures(old), figures(older)])
    assert count(Metric) == 2, "what would be dropped at once is not kept at all"
    with transaction() as tx:
        days = partitions.existing(tx, "metrics")
        place = tx.scalar(text("select tableoid::regclass::text from metrics order by at limit 1"))
    assert {partitions.today() + timedelta(days=ahead) for ahead in range(8)} <= days
    assert old.date() in days
    assert place == f"metrics_{old:%Y%m%d}"
    partitions.ensure("metrics", [older.date()])
    assert partitions.drop_old() == [f"metrics_{older:%Y%m%d}"]
    assert count(Metric) == 2


def test_the_sums_are_what_the_rows_say_and_change_with_late_rows(servers: Servers) -> None:
    dice = random.Random(5)
    base = now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=30)
    rows = [
        figures(
            base + timedelta(seconds=dice.uniform(0, 29 * 3600)),
            node=dice.choice(["home", "attic"]),
            outcome=dice.choice(["done", "done", "failed"]),
            user_id=str(UUID(int=dice.randint(1, 3))),
            first_token_ms=dice.choice([None, dice.uniform(5, 5000)]),
            completion_tokens=dice.randint(0, 900),
        )
        for _ in range(600)
    ]
    late, early = rows[:50], rows[50:]
    metrics.log_turns(early)
    assert rollup.roll_up() >= 4, "a step each six hours"
    metrics.log_turns(late)
    rollup.roll_up()
    for span in "mhd":
        with transaction() as tx:
            sums = list(tx.scalars(select(MetricRollup).where(MetricRollup.span == span)))
        assert sum(one.turns for one in sums) == len(rows), span
        assert sum(one.completion_tokens for one in sums) == sum(row["completion_tokens"] for row in rows), span
        assert sum(one.turns for one in sums if one.node == "attic") == sum(row["node"] == "attic" for row in rows)
        counts = [sum(column) for column in zip(*(one.first_counts for one in sums), strict=True)]
        firsts = [row["first_token_ms"] for row in rows if row["first_token_ms"] is not None]
        assert counts == [sum(buckets.bucket(ms) == index for ms in firsts) for index in range(len(counts))], span
    mine = [row for row in rows if row["user_id"] == str(UUID(int=2))]
    used = usage.of(str(UUID(int=2)), 48)
    assert (used.turns, used.completion_tokens) == (len(mine), sum(row["completion_tokens"] for row in mine))
    assert usage.most(24 * 30)[0].completion_tokens == max(usage.of(str(UUID(int=who)), 48).completion_tokens for who in (1, 2, 3))
    with transaction() as tx:
        assert now() - tx.get_one(RollupMark, "metrics").upto < timedelta(minutes=6)


@given(st.lists(st.floats(0, 400_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_from_buckets_lies_in_the_bucket_of_the_true_one(times: list[float], share: float) -> None:
    counts = [0] * (len(buckets.BOUNDS) + 1)
    for ms in times:
        counts[buckets.bucket(ms)] += 1
    told = buckets.quantile(counts, share)
    assert told is not None
    if len(times) == 1:
        assert buckets.bucket(min(times[0], 299_999)) in (buckets.bucket(told), buckets.bucket(told * 0.999))
        return
    ordered = sorted(times)
    low = ordered[max(0, int(share * len(times)) - 1)]
    high = ordered[min(len(times) - 1, int(share * len(times)) + 1)]
    edges = (0.0, *buckets.BOUNDS, buckets.BOUNDS[-1])
    assert edges[buckets.bucket(low)] <= told <= edges[min(buckets.bucket(high) + 1, len(edges) - 1)]


def test_nothing_counted_has_no_quantile() -> None:
    assert buckets.quantile([0] * (len(buckets.BOUNDS) + 1), 0.5) is None


def test_nodes_and_queues_are_sampled_once_a_moment(servers: Servers, ada: Member) -> None:
    nodes.ready(slots=1, memory=123456, tokens_per_second=48.5)
    for _ in range(3):
        ada.ask(ada.session())
    assert samples.take() == samples.take() > 8
    rollup.roll_up()
    with transaction() as tx:
        kept = {(one.kind, one.subject): one.value for one in tx.scalars(select(Sample))}
        sums = {(one.kind, one.subject): one for one in tx.scalars(select(SampleRollup).where(SampleRollup.span == "h"))}
    assert kept["node.memory", "home"] == 123456
    assert kept["node.speed", "home"] == 48.5
    assert (kept["node.up", "home"], kept["node.busy", "home"]) == (1, 1)
    assert (kept["queue.length", "waiting"], kept["queue.length", "running"]) == (2, 1)
    assert sums["queue.length", "waiting"].most == 2
    assert set(names.PLATFORM_QUEUES) <= {subject for kind, subject in kept if kind == "queue.length"}


@pytest.mark.parametrize("said", ["nan", "inf", "-1", "1e300", "warm", ""])
def test_what_is_no_figure_spoils_no_sum(servers: Servers, said: str) -> None:
    """A node says what it likes; one that was stolen may say anything."""
    nodes.ready(memory=said, heat=said, celsius=41.5)
    samples.take()
    with transaction() as tx:
        kept = {one.kind: one.value for one in tx.scalars(select(Sample).where(Sample.subject == "home"))}
    assert "node.memory" not in kept
    assert kept["node.heat"] == 41.5, "the next field that holds one"


def test_waits_for_discord_are_sampled_and_plotted_as_they_grow(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "_waits", [2, 7.5])
    Presence("server-bot").say()
    Presence("worker").say()
    nodes.ready(discord_wait=2.5)
    samples.take()
    with transaction() as tx:
        kept = {one.subject: one.value for one in tx.scalars(select(Sample).where(Sample.kind.in_(plots.WAITS)))}
    assert kept == {"server-bot": 7.5, "home": 2.5}
    lines = {"node.discord_wait": {"home": [1.0, 3.5, None, 4.0, 0.5]}, "process.discord_wait": {"server-bot": [0.0, 0.0, 2.0, None, 2.0]}}
    drawn = {line.name: line.values for line in plots.plot("discord", {"series": [], "samples": lines, "minutes": 5}).lines}
    assert drawn == {"home": [None, 2.5, None, 0.5, 0.5], "server-bot": [None, 0.0, 2.0, None, 0.0]}, "started anew, it begins at nothing"


@pytest.mark.parametrize(("minutes", "told"), [(5, "5 minutes"), (15, "15 minutes"), (60, "an hour"), (120, "2 hours"), (1440, "a day")])
def test_a_count_says_in_what_time_it_was_counted(minutes: int, told: str) -> None:
    summary: dict[str, Any] = {"series": [], "samples": {}, "minutes": minutes}
    units = {kind: plots.plot(kind, summary).unit for kind in plots.TITLES}
    assert (units["turns"], units["discord"]) == (f"in {told}", f"s in {told}")
    assert all(units.values()), "each says what its figures are"


def test_read_and_written_tokens_and_the_depth_of_queues_are_plotted(servers: Servers) -> None:
    metrics.log_turns([figures(now(), prompt_tokens=30, completion_tokens=50)])
    samples.take()
    rollup.roll_up()
    found = {one.kind: {line.name: line.values for line in one.lines} for one in plots.every(metrics.summary(1))}
    assert {name: max(one or 0 for one in line) for name, line in found["tokens"].items()} == {"written": 50, "read": 30}
    assert set(found["tasks"]) == {*names.PLATFORM_QUEUES, names.RELAY}
