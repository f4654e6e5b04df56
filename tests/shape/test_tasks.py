"""Every queue has a consumer, every task a queue and a home, and the broker's settings are the ones we measured."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab

import celeryconfig
from app.core.config import settings
from app.wire import names
from tests.support.servers import Servers

LATER = {
    names.RELAY: "the Server-Bot consumes it",
}
"""Queues that no process of this tree consumes, each with its reason."""


def tasks_named() -> set[str]:
    return {
        value
        for key, value in vars(names).items()
        if key.isupper() and isinstance(value, str) and "." in value and not value.startswith("ml:")
    }


@pytest.fixture
def app(servers: Servers) -> Celery:
    """The platform's application, with its settings, as the worker makes it."""
    module = importlib.reload(importlib.import_module("workers.app"))
    found: Celery = module.app
    for name in module.TASKS:
        importlib.import_module(name)
    found.finalize(auto=True)
    return found


def test_every_task_is_routed() -> None:
    assert tasks_named() - {names.GENERATE} == set(names.QUEUE_OF)
    for task, queue in names.QUEUE_OF.items():
        assert celeryconfig.task_routes[task] == {"queue": queue}
        assert task.startswith(f"{queue}."), "a task's name begins with its queue's"


def test_every_queue_has_a_consumer() -> None:
    consumed = {*names.PLATFORM_QUEUES, *LATER}
    assert set(names.QUEUE_OF.values()) <= consumed
    assert celeryconfig.task_default_queue in names.PLATFORM_QUEUES
    assert names.inference_queue("home").startswith("inference.")


def test_every_task_of_a_consumed_queue_is_known_to_its_consumer(app: Celery) -> None:
    expected = {task for task, queue in names.QUEUE_OF.items() if queue in names.PLATFORM_QUEUES}
    ours = {task for task in app.tasks if not task.startswith(("celery.", "pytest_celery."))}
    assert ours & set(names.QUEUE_OF) == expected
    assert ours <= set(names.QUEUE_OF) | {names.GENERATE}, "a task without a name in app.wire.names"


def test_beat_sends_only_what_is_named_and_lets_none_pile_up(app: Celery) -> None:
    assert app.conf.beat_schedule
    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in names.QUEUE_OF
        if isinstance(entry["schedule"], float):
            assert entry["options"]["expires"] <= entry["schedule"], "what was not run in its time is sent again anyway"
        else:
            assert entry["options"]["expires"] <= 86_400, "of what was missed for a day one is enough"


def test_the_backup_goes_by_the_setting_in_crons_form(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    def entries(line: str) -> dict[str, Any]:
        monkeypatch.setenv("MEATLIZARD_BACKUP_SCHEDULE", line)
        settings.cache_clear()
        found: dict[str, Any] = importlib.import_module("workers.app").schedule()
        return found

    assert entries("30 4 * * 0")["backup"]["schedule"] == crontab(minute="30", hour="4", day_of_week="0")
    assert "backup" not in entries("")
    with pytest.raises(ValueError, match="MEATLIZARD_BACKUP_SCHEDULE is not right: 'every day'"):
        entries("every day")


def test_the_consumed_queues_are_those_of_the_command_line(repository: Path) -> None:
    assert "names.PLATFORM_QUEUES" in (repository / "workers/processes.py").read_text()
    assert "inference_queue" in (repository / "workers/inference/process.py").read_text()


MEASURED = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "task_ignore_result": True,
    "accept_content": ["json"],
    "task_serializer": "json",
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,
    "worker_send_task_events": True,
    "visibility_timeout": celeryconfig.VISIBILITY_SECONDS,
    "enable_utc": True,
}
"""What the fault tests of the design rest on; each closes a hole that was measured."""


@pytest.mark.parametrize("name", MEASURED)
def test_a_setting_that_closes_a_hole_stands(name: str) -> None:
    assert getattr(celeryconfig, name) == MEASURED[name]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("socket_timeout", 10),
        ("socket_connect_timeout", 5),
        ("health_check_interval", 10),
        ("unacked_restore_interval", 10),
        ("unacked_restore_throttle", 2),
    ],
)
def test_a_half_open_broker_connection_is_noticed(name: str, most: float) -> None:
    assert 0 < celeryconfig.broker_transport_options[name] <= most
    assert celeryconfig.broker_transport_options["socket_keepalive"] is True


def test_the_visibility_timeout_is_the_same_everywhere_and_longer_than_any_task() -> None:
    assert celeryconfig.broker_transport_options["visibility_timeout"] == celeryconfig.visibility_timeout
    assert celeryconfig.visibility_timeout > 10 * names.LEASE_SECONDS


def test_lifetimes_leave_room_for_each_other() -> None:
    assert names.RENEW_SECONDS * 3 < names.LEASE_SECONDS + 1
    assert names.BEAT_SECONDS * 3 < names.NODE_TTL_SECONDS
    assert names.SWEEP_SECONDS < names.LEASE_SECONDS
    assert names.ENVELOPE_MAX_AGE_SECONDS >= names.STREAM_TTL_SECONDS
