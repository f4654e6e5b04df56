"""What Prometheus reads: in its own format, by its own conventions, for whom it is meant, and never a word of text."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from celery.signals import task_postrun, task_prerun
from prometheus_client.parser import text_string_to_metric_families

from app.core import redis
from app.core.config import settings
from app.core.presence import Presence
from app.services import exposition, metrics, rollup
from app.wire import names
from tests.services.test_metrics import figures
from tests.support import nodes
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.website import Site

WATCH = Path(__file__).resolve().parents[2] / "docker" / "watch"
UNITS = {"seconds", "bytes", "celsius", "total", "info", "tokens", "ratio"}
COUNTED = {"turns", "waiting", "running", "slots", "up", "threads", "tasks", "second"}
"""Last words of gauges that count things, or say yes and no: those have no unit."""


def families(text: str) -> dict[str, Any]:
    return {one.name: one for one in text_string_to_metric_families(text)}


@pytest.fixture
def told(ada: Member) -> dict[str, Any]:
    """Everything, with a little of each thing measured."""
    nodes.ready(slots=2, memory=5_000_000, resident=60_000_000, heat=61.5, restarts=1, discord_wait=2.5, tokens_per_second=48)
    ada.ask(ada.session(), "SECRET-PROMPT")
    for ms in (12, 40, 900, 500_000):
        metrics.log_turns([figures(datetime.now(UTC), first_token_ms=float(ms), outcome="failed" if ms == 900 else "done")])
    rollup.roll_up()
    task_prerun.send(sender=None)
    task_postrun.send(sender=None, task=SimpleNamespace(name=names.SWEEP), state="SUCCESS")
    Presence("worker").say()
    redis.client().hincrby(names.REFUSED, "session", 3)
    return families(exposition.text_format().decode())


def value(family: Any, **labels: str) -> float:
    [found] = [one.value for one in family.samples if labels.items() <= one.labels.items()]
    return found


def test_it_says_what_was_measured(told: dict[str, Any]) -> None:
    assert value(told["meatlizard_turns"], outcome="failed") == 1
    assert value(told["meatlizard_turns"], outcome="done") == 3
    assert value(told["meatlizard_tokens"], kind="completion", node="home") == 200
    assert value(told["meatlizard_node_up"], node="home", lane="queue") == 1
    assert value(told["meatlizard_node_resident_memory_bytes"], node="home") == 60_000_000
    assert value(told["meatlizard_node_temperature_celsius"], node="home") == 61.5
    assert value(told["meatlizard_node_discord_wait_seconds"], node="home") == 2.5
    assert value(told["meatlizard_turns_running"]) == 1
    assert value(told["meatlizard_process_resident_memory_bytes"], process="worker") > 1e6
    assert value(told["meatlizard_frames_refused"], reason="session") == 3
    ran = [one.value for one in told["meatlizard_task_duration_seconds"].samples if one.name.endswith("_count")]
    assert sum(ran) >= 1
    buckets = {one.labels["le"]: one.value for one in told["meatlizard_first_token_seconds"].samples if "le" in one.labels}
    assert (buckets["0.01"], buckets["0.05"], buckets["1"], buckets["+Inf"]) == (0, 2, 3, 4)
    assert list(buckets.values()) == sorted(buckets.values()), "a histogram's buckets add up"


def test_names_and_units_follow_the_conventions(told: dict[str, Any]) -> None:
    assert len(told) > 20
    for name, family in told.items():
        assert re.fullmatch(r"meatlizard(_[a-z]+)+", name), name
        assert family.documentation.endswith("."), name
        assert family.type in ("counter", "gauge", "histogram", "summary"), name
        last = name.rpartition("_")[2]
        if family.type == "gauge":
            assert last in UNITS | COUNTED, f"{name}: a unit is missing"
            assert last != "total", name
        if family.type == "counter":
            assert all(one.name == f"{name}_total" for one in family.samples), name
        if family.type in ("histogram", "summary"):
            assert last in UNITS, name
        assert not re.search(r"(milli|micro|kilo|mega)|_ms$|_mb$|_percent", name), f"{name}: base units only"
        for sample in family.samples:
            assert all(re.fullmatch(r"[a-z]+", label) for label in sample.labels), sample
            assert not {"user", "turn", "session"} & set(sample.labels), "without end, and about people"


def test_it_holds_no_word_of_what_was_said(told: dict[str, Any], ada: Member) -> None:
    text = exposition.text_format().decode()
    assert "SECRET" not in text
    assert ada.name not in text
    assert ada.id not in text


async def test_it_answers_this_machine_and_who_has_the_token(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.browser() as browser:
        here = await browser.get("/metrics")
        assert here.status_code == 200
        assert here.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "meatlizard_build_info" in families(here.text)
        elsewhere = {"x-forwarded-for": "203.0.113.9"}
        assert (await browser.get("/metrics", headers=elsewhere)).status_code == 401
        monkeypatch.setenv("MEATLIZARD_METRICS_TOKEN", "a-token")
        settings.cache_clear()
        for token, status in (("a-token", 200), ("another", 401)):
            answer = await browser.get("/metrics", headers=elsewhere | {"authorization": f"Bearer {token}"})
            assert answer.status_code == status


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression of the dashboard and the alerts, with where it stands."""
    board = json.loads((WATCH / "dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for group in yaml.safe_load((WATCH / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def test_dashboard_and_alerts_name_what_exists(told: dict[str, Any]) -> None:
    known = set(told) | {sample.name for family in told.values() for sample in family.samples}
    labels = {label for family in told.values() for sample in family.samples for label in sample.labels}
    found = dict(expressions())
    assert len(found) >= 20
    for where, expression in found.items():
        named = set(re.findall(r"meatlizard_[a-z_]+", expression))
        assert named <= known, where
        assert named, where
        grouped = re.findall(r"by \(([a-z, ]+)\)", expression)
        assert {label.strip() for part in grouped for label in part.split(",")} <= labels, where
        assert expression.count("(") == expression.count(")"), where


def test_every_alert_says_what_to_do() -> None:
    for group in yaml.safe_load((WATCH / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"]["summary"].endswith(".")
            assert rule["annotations"]["do"].endswith(".")


def test_processes_that_are_gone_are_gone(servers: Servers) -> None:
    Presence("worker").say()
    [key] = redis.client().scan_iter(f"{names.PROCESS}*")
    assert 0 < redis.client().ttl(key) <= names.PROCESS_TTL_SECONDS
    assert names.PROCESS_TTL_SECONDS > 3 * names.PROCESS_SECONDS
