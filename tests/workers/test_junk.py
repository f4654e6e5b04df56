"""What is no task is let go of: the worker that takes it out of a queue lives on, and has all its hands."""

import base64
import json
from typing import Any
from uuid import UUID

from pytest_celery import CeleryTestSetup

from app.core import redis
from app.core.db import transaction
from app.core.models import Turn
from app.wire import names
from app.wire.states import TurnState
from tests.support import nodes
from tests.support.people import Member
from tests.support.waiting import until

UNACKED = ("unacked", "unacked_index", "unacked_mutex")


def message(body: Any = None, headers: Any = None, **properties: Any) -> dict[str, Any]:
    """Return a message as kombu writes one, but for what the test bends."""
    held = {
        "delivery_tag": f"tag-{properties}",
        "delivery_info": {"exchange": "", "routing_key": names.TURNS},
        "body_encoding": "base64",
        **properties,
    }
    words = base64.b64encode(json.dumps([[], {}, {}] if body is None else body).encode()).decode()
    told = {"task": names.DISPATCH, "id": "1"} | (headers or {})
    return {
        "body": words,
        "headers": told,
        "properties": held,
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }


JUNK: dict[str, Any] = {
    "no JSON": b"junk",
    "no text": b"\xff\xfe\x00",
    "nothing": b"",
    "a number": b"7",
    "a list": b"[]",
    "no properties": b"{}",
    "deep": b"[" * 100_000,
    "a type that is none": b'{"__type__": "datetime", "__value__": 7}',
    "a type without a value": b'{"__type__": "uuid"}',
    "a body that is not packed so": message() | {"body": "?"},
    "an encoding that is none": message(body_encoding="rot13"),
    "a tag that is a list": message(delivery_tag=["tag"]),
    "headers that are a list": message() | {"headers": []},
    "a task that is a list": message(headers={"task": []}),
    "a task of nobody's": message(headers={"task": "os.system"}),
    "a time that is none": message(headers={"eta": "tomorrow"}),
    "a count that is none": message(headers={"retries": {}, "timelimit": 7, "expires": []}),
    "arguments that are none": message(body=7),
    "pickled": message() | {"content-type": "application/x-python-serialize"},
}


def as_bytes(junk: Any) -> bytes:
    return junk if isinstance(junk, bytes) else json.dumps(junk).encode()


def test_a_worker_lives_on_and_has_all_its_hands(setup: CeleryTestSetup, ada: Member) -> None:
    """All of it thrice, between kinds of keys that are wrong: as much as would hold each of its hands."""
    process, client = setup.worker.container.id, redis.client()
    for wrong in (names.TURNS, *UNACKED):
        client.delete(wrong)
        client.geoadd(wrong, (1, 1, "junk")) if wrong == "unacked" else client.hset(wrong, "junk", "7")
        client.lpush(names.UPKEEP, *map(as_bytes, JUNK.values()))
    client.publish("/0.celery.pidbox", b"junk")
    client.publish("/0.celery.pidbox", b"[]")
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    until(lambda: client.llen(names.UPKEEP) == 0, said=setup.worker.logs)
    until(lambda: client.type(names.TURNS) != b"hash", said=setup.worker.logs)
    setup.app.send_task(names.FINISH, args=(job.turn, job.attempt, "home", nodes.outcome(job)))
    until(lambda: _state(turn) == TurnState.DONE, said=setup.worker.logs)
    assert (setup.worker.container.id, setup.worker.container.status) == (process, "running")
    assert "broker.junk" in setup.worker.logs()
    assert "Unrecoverable" not in setup.worker.logs()
    until(lambda: client.hlen("unacked") == 0, said=setup.worker.logs)


def _state(turn: str) -> str:
    with transaction() as tx:
        return tx.get_one(Turn, UUID(turn)).state


TOLD: dict[str, dict[str, Any]] = {
    "cancel_consumer": {"queue": names.TURNS},
    "add_consumer": {"queue": names.inference_queue("home")},
    "rate_limit": {"task_name": names.SWEEP, "rate_limit": "1/h"},
    "time_limit": {"task_name": names.SWEEP, "hard": 0.001, "soft": 0.001},
    "revoke": {"task_id": "1"},
    "autoscale": {"max": 0, "min": 0},
    "disable_events": {},
    "pool_restart": {},
    "shutdown": {},
}


def test_a_worker_is_asked_and_never_told(setup: CeleryTestSetup) -> None:
    """One message on the channel of all workers would else hold: it would consume no turns until it is started anew."""
    process, control = setup.worker.container.id, setup.app.control
    for command, words in TOLD.items():
        for answer in control.broadcast(command, arguments=words, reply=True, timeout=0.2):
            assert all("error" in said for said in answer.values()), (command, answer)
    until(lambda: control.inspect(timeout=1).ping(), said=setup.worker.logs)
    told = until(lambda: control.inspect(timeout=1).active_queues(), said=setup.worker.logs)
    [queues] = told.values()
    assert {queue["name"] for queue in queues} == set(names.PLATFORM_QUEUES)
    assert (setup.worker.container.id, setup.worker.container.status) == (process, "running")
