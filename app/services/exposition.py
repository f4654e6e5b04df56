"""Everything that is measured, in the form that Prometheus reads; for all processes and nodes in one place."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from sqlalchemy import func, select, text

from app.core import presence, redis
from app.core.db import transaction
from app.core.models import MetricRollup, Turn
from app.services import nodes, samples
from app.services.buckets import BOUNDS
from app.wire import names
from app.wire.states import TurnState

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
P: Final = "meatlizard_"
NODE_GAUGES: Final = (
    ("node.memory", "node_engine_memory_bytes", "Resident memory of the node's engine."),
    ("node.resident", "node_resident_memory_bytes", "Resident memory of the node's own process."),
    ("node.heat", "node_temperature_celsius", "The hottest sensor of the node."),
    ("node.speed", "node_speed_tokens_per_second", "Tokens a second of the node's latest replies."),
    ("node.slots", "node_slots", "Turns that the node takes at once."),
)


def text_format() -> bytes:
    """Return every figure as it stands now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All())
    return generate_latest(registry)


class _All(Collector):
    def collect(self) -> Iterator[Metric]:
        """Yield each family, read from PostgreSQL and Redis when it is asked for."""
        build = GaugeMetricFamily(f"{P}build_info", "The version that answers.", labels=["version"])
        build.add_metric([version("meatlizard")], 1)
        yield build
        yield from _turns()
        yield from _queues()
        yield from _nodes()
        yield from _processes()


def _turns() -> Iterator[Metric]:
    query = select(
        MetricRollup.outcome, MetricRollup.door, MetricRollup.lane, MetricRollup.node,
        func.sum(MetricRollup.turns), func.sum(MetricRollup.prompt_tokens), func.sum(MetricRollup.completion_tokens),
    ).where(MetricRollup.span == "d")  # fmt: skip
    with transaction() as tx:
        rows = tx.execute(query.group_by("outcome", "door", "lane", "node")).all()
        waits = _histogram(tx, "queue_counts")
        firsts = _histogram(tx, "first_counts")
        running = tx.scalar(select(func.count()).where(Turn.state == TurnState.RUNNING.value)) or 0
        queued = tx.scalar(select(func.count()).where(Turn.state == TurnState.QUEUED.value)) or 0
        size = tx.scalar(text("select pg_database_size(current_database())")) or 0
    ended = CounterMetricFamily(f"{P}turns", "Turns that ended; a minute behind.", labels=["outcome", "door", "lane", "node"])
    tokens = CounterMetricFamily(f"{P}tokens", "Tokens read (prompt) and written (completion).", labels=["kind", "node"])
    sums: dict[tuple[str, str], int] = {}
    for outcome, door, lane, node, turns, prompt, completion in rows:
        ended.add_metric([outcome, door, lane or "none", node or "none"], turns)
        for kind, count in (("prompt", prompt), ("completion", completion)):
            sums[kind, node or "none"] = sums.get((kind, node or "none"), 0) + int(count)
    for (kind, node), count in sorted(sums.items()):
        tokens.add_metric([kind, node], count)
    yield ended
    yield tokens
    for name, words, found in (
        ("queue_wait_seconds", "From a prompt's coming in to its slot.", waits),
        ("first_token_seconds", "From a job's arrival at the node to its first text.", firsts),
    ):
        family = HistogramMetricFamily(f"{P}{name}", words, labels=["lane", "node"])
        for (lane, node), counts in sorted(found.items()):
            family.add_metric([lane or "none", node or "none"], _cumulated(counts), sum_value=None)
        yield family
    yield GaugeMetricFamily(f"{P}turns_running", "Turns that a node has.", running)
    yield GaugeMetricFamily(f"{P}turns_waiting", "Turns that wait for a slot.", queued)
    yield GaugeMetricFamily(f"{P}database_size_bytes", "Size of the database on disk.", size)


def _histogram(tx: Any, column: str) -> dict[tuple[str, str], list[int]]:
    sums = ", ".join(f"sum({column}[{index + 1}])" for index in range(len(BOUNDS) + 1))
    query = f"select lane, node, {sums} from metric_rollups where span = 'd' group by lane, node"  # noqa: S608 - our own words
    return {(row[0], row[1]): [int(count) for count in row[2:]] for row in tx.execute(text(query))}


def _cumulated(counts: list[int]) -> list[tuple[str, float]]:
    found, total = [], 0
    for bound, count in zip((*BOUNDS, float("inf")), counts, strict=True):
        total += count
        found.append(("+Inf" if bound == float("inf") else f"{bound / 1000:g}", float(total)))
    return found


def _queues() -> Iterator[Metric]:
    lengths = samples.queues()
    tasks = GaugeMetricFamily(f"{P}queue_tasks", "Tasks that wait in a queue.", labels=["queue"])
    for queue in (*names.PLATFORM_QUEUES, names.RELAY):
        tasks.add_metric([queue], lengths[queue])
    yield tasks
    yield GaugeMetricFamily(f"{P}figures_waiting", "Figures that are not in PostgreSQL yet.", lengths["figures"])
    refused = CounterMetricFamily(f"{P}frames_refused", "Messages in Discord that were not believed.", labels=["reason"])
    for reason, count in sorted(redis.client().hgetall(names.REFUSED).items()):
        refused.add_metric([reason.decode(errors="replace")], float(count))
    yield refused


def _nodes() -> Iterator[Metric]:
    up = GaugeMetricFamily(f"{P}node_up", "Whether the node is ready.", labels=["node", "lane"])
    busy = GaugeMetricFamily(f"{P}node_busy_slots", "Slots of the node that are taken.", labels=["node"])
    restarts = CounterMetricFamily(f"{P}node_engine_restarts", "How often the node started its engine again.", labels=["node"])
    waits = CounterMetricFamily(
        f"{P}node_discord_wait_seconds", "Seconds that the node waited for Discord's limits.", labels=["node"]
    )
    gauges = {kind: GaugeMetricFamily(f"{P}{name}", words, labels=["node"]) for kind, name, words in NODE_GAUGES}
    for node in nodes.listed():
        said = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in redis.client().hgetall(names.node_key(node.name)).items()}
        up.add_metric([node.name, node.lane], float(node.state == "ready"))
        busy.add_metric([node.name], node.busy)
        for kind, family in gauges.items():
            if (value := samples.figure(said, samples.NODE_FIGURES[kind])) is not None:
                family.add_metric([node.name], value)
        for counter, field in ((restarts, "restarts"), (waits, "discord_wait")):
            if (value := samples.figure(said, (field,))) is not None:
                counter.add_metric([node.name], value)
    yield from (up, busy, restarts, waits, *gauges.values())


def _processes() -> Iterator[Metric]:
    who = ["process", "instance"]
    memory = GaugeMetricFamily(f"{P}process_resident_memory_bytes", "Resident memory.", labels=who)
    started = GaugeMetricFamily(f"{P}process_start_time_seconds", "When it started, since 1970.", labels=who)
    seen = GaugeMetricFamily(f"{P}process_last_seen_timestamp_seconds", "When it last said so, since 1970.", labels=who)
    threads = GaugeMetricFamily(f"{P}process_threads", "Threads.", labels=who)
    cpu = CounterMetricFamily(f"{P}process_cpu_seconds", "CPU time used.", labels=who)
    tasks = SummaryMetricFamily(
        f"{P}task_duration_seconds", "Tasks by how they ended, and the time they took.", labels=[*who, "task", "outcome"]
    )
    waits = CounterMetricFamily(f"{P}discord_wait_seconds", "Seconds spent waiting for Discord's limits.", labels=who)
    for one in presence.processes():
        labels = [one["process"], f"{one['host']}:{one['pid']}"]
        for family, field in ((memory, "memory"), (started, "started"), (seen, "at"), (threads, "threads"), (cpu, "cpu")):
            family.add_metric(labels, one[field])
        for task, outcome, count, seconds in one["tasks"]:
            tasks.add_metric([*labels, task, outcome], count, seconds)
        waits.add_metric(labels, one["discord_waits"][1])
    yield from (memory, started, seen, threads, cpu, tasks, waits)
