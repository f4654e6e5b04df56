"""Holes of Celery and kombu on Redis that have a name: each is met by a setting or a version, tried here or where 0032 says."""

import contextlib
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import kombu
import pytest
from kombu.transport.redis import Channel
from packaging.version import Version
from pytest_celery import CeleryTestSetup

import celeryconfig
from app.core import broker, redis
from app.core.db import transaction
from app.core.models import Turn
from app.core.redis import async_client, pubsub_client
from app.wire import names
from app.wire.errors import Unavailable
from app.wire.states import TurnState
from tests.support import nodes
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until

OLDEST = {"celery": "5.7.0", "kombu": "5.7.0", "redis": "8.1.0"}
"""Before these a worker stops consuming for good after a reconnect, or a blocking read has a timeout that nobody set."""


@pytest.mark.parametrize("package", OLDEST)
def test_no_version_with_a_hole_that_was_closed(package: str) -> None:
    assert Version(version(package)) >= Version(OLDEST[package])


def test_what_listens_waits_for_ever_and_what_asks_does_not(servers: Servers) -> None:
    assert pubsub_client().get_connection_kwargs()["socket_timeout"] is None
    for client in (async_client(), redis.client()):
        assert client.get_connection_kwargs()["socket_timeout"]


def test_nothing_is_forgotten_for_lack_of_room(servers: Servers, repository: Path) -> None:
    assert redis.client().config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert redis.client().config_get("appendonly") == {"appendonly": "yes"}
    assert "noeviction" in (repository / "docker" / "start-valkey.sh").read_text()


def test_a_queue_is_one_list_of_its_own_name(servers: Servers) -> None:
    """Priorities would make ten of it, do nothing, and give a node's rights no name to hold to."""
    for priority in (None, 0, 9):
        broker.enqueue(names.SWEEP, priority=priority)
    lists = [key for key in redis.client().scan_iter() if redis.client().type(key) == b"list"]
    assert lists == [names.QUEUE_OF[names.SWEEP].encode()]
    assert redis.client().llen(lists[0]) == 3


def test_no_result_is_kept_anywhere(servers: Servers) -> None:
    assert not broker.celery().conf.result_backend
    assert type(broker.celery().backend).__name__ == "DisabledBackend"
    broker.enqueue(names.SWEEP)
    assert not [key for key in redis.client().scan_iter() if b"celery-task-meta" in key]


def test_whoever_sends_into_a_broker_that_is_gone_is_told(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not held up for ever, which is the library's own choice."""
    monkeypatch.setitem(broker.celery().conf, "broker_url", "redis://127.0.0.1:1/0")
    with pytest.raises(Unavailable):
        broker.enqueue(names.SWEEP)


def test_a_broker_that_is_lost_while_a_queue_is_declared_loses_no_task(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kombu would go on with the channel that it has just closed: so nothing is declared by who sends."""
    bind, lost = Channel._queue_bind, [ConnectionResetError()]

    def losing(*args: Any) -> None:
        if lost:
            raise lost.pop()
        bind(*args)

    monkeypatch.setattr(Channel, "_queue_bind", losing)
    broker.enqueue(names.SWEEP, queue="new")
    assert redis.client().llen("new") == 1


def test_a_channel_of_a_closed_connection_says_that_it_is_lost(servers: Servers) -> None:
    """A worker whose connection was lost gives back what it holds over such a channel, and connects anew."""
    with broker.celery().connection_for_write() as connection:
        channel = connection.channel()
        transport = connection.transport
        channel._pool = None
        transport.client = None
        with pytest.raises(connection.connection_errors, match="was closed"):
            _ = channel.pool
        transport.client = connection
        channel.close()
        with pytest.raises(connection.connection_errors, match="was closed"):
            _ = channel.pool


def test_what_a_dead_worker_had_taken_comes_back(servers: Servers) -> None:
    """Of itself kombu looks once in a hundred seconds; the time it may be held is short here, the rest is ours."""
    options = celeryconfig.broker_transport_options
    assert options["unacked_restore_interval"] * options["unacked_restore_throttle"] <= 5
    short = options | {"visibility_timeout": 1, "unacked_restore_interval": 0.2}
    queue = kombu.Queue("held", kombu.Exchange("held"), routing_key="held")
    seen: list[str] = []

    def taking(name: str, *, done: bool) -> Any:
        def take(_: Any, message: Any) -> None:
            seen.append(name)
            if done:
                message.ack()

        connection = kombu.Connection(servers.settings.redis_url, transport_options=short)
        consumer = connection.Consumer([queue], callbacks=[take])
        consumer.consume()
        return connection

    silent = taking("silent", done=False)
    silent.Producer().publish({"x": 1}, exchange=queue.exchange, routing_key="held", declare=[queue])
    until(lambda: _drained(silent) or seen)
    other = taking("other", done=True)
    # The one that has it says nothing any more, as a dead one does.
    until(lambda: _drained(other) or len(seen) > 1)
    assert seen == ["silent", "other"]
    for connection in (other, silent):
        connection.release()


def _drained(connection: Any) -> None:
    with contextlib.suppress(TimeoutError):
        connection.drain_events(timeout=0.3)
    connection.transport.cycle.maybe_restore_messages()


def test_a_worker_with_no_hand_free_takes_nothing(setup: CeleryTestSetup, ada: Member, repository: Path) -> None:
    said = re.search(r"^THREADS: Final = (\d+)$", (repository / "workers" / "processes.py").read_text(), re.MULTILINE)
    assert said
    hands = int(said[1])
    nodes.ready(slots=hands + 2)
    asked = [ada.ask(ada.session()).turn for _ in range(hands + 2)]
    jobs = nodes.jobs()
    with transaction() as tx:
        for turn in asked:
            tx.get(Turn, UUID(turn), with_for_update=True)
        for job in jobs:
            setup.app.send_task(names.FINISH, args=(job.turn, job.attempt, "home", nodes.outcome(job)))
        until(lambda: _waiting(tx) == hands, said=setup.worker.logs)
        assert redis.client().llen(names.TURNS) == len(asked) - hands, "another worker could have them"
    until(lambda: all(_state(turn) == TurnState.DONE for turn in asked), said=setup.worker.logs)


def _waiting(tx: Any) -> int:
    return int(tx.connection().exec_driver_sql("select count(*) from pg_locks where not granted").scalar())


def _state(turn: str) -> str:
    with transaction() as tx:
        return tx.get_one(Turn, UUID(turn)).state


@pytest.mark.parametrize("module", ["workers/processes.py", "workers/inference/process.py", "bots/server/process.py"])
def test_nobody_forks(module: str, repository: Path) -> None:
    """A killed child, its lost task, and a SIGQUIT that threads do not know: none of it is there without children."""
    assert 'pool="threads"' in (repository / module).read_text()


def test_what_is_taken_is_given_back_only_once_done() -> None:
    assert celeryconfig.task_acks_late
    assert celeryconfig.task_reject_on_worker_lost
    assert not celeryconfig.worker_cancel_long_running_tasks_on_connection_loss
