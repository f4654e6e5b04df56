"""What nodes hand in: three things are done, and whatever else a stolen node may write comes to nothing."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.core import redis
from app.services import disbelief, trail, turns
from app.wire import names
from app.wire.errors import EnvelopeForged
from app.wire.inbox import Asked, Handed
from tests.support import nodes, tasks
from tests.support.people import Member
from tests.support.servers import Servers
from workers import inbox

TURN = "00000000-0000-7000-8000-000000000000"
TASK = {"task": "upkeep.expire_logins", "id": TURN, "callbacks": [{"task": "relay.close_session", "args": [TURN]}], "chain": []}
JUNK = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b'{"asked": "shutdown", "node": "home"}',
    orjson.dumps({"asked": "finish", "node": "home", "turn": "no id", "attempt": 1, "envelope": "x"}),
    orjson.dumps({"asked": "finish", "node": "home", "turn": TURN, "attempt": 1e9, "envelope": "x"}),
    orjson.dumps({"asked": "finish", "node": "x" * 70_000, "turn": TURN, "attempt": 1, "envelope": "x"}),
    orjson.dumps({"asked": "finish", "node": ["home"], "turn": TURN, "attempt": 1, "envelope": "x"}),
    orjson.dumps({"asked": "finish", "node": "home", "turn": TURN, "attempt": 1, "envelope": "x", "callbacks": [TASK]}),
    orjson.dumps({"body": "W10=", "headers": TASK, "properties": {"delivery_tag": TURN}, "content-type": "application/json"}),
    b"x" * (5 << 20),
]


@pytest.mark.parametrize("raw", JUNK)
def test_junk_does_nothing_and_harms_nobody(servers: Servers, raw: bytes) -> None:
    inbox.act(raw)
    assert [key for key in redis.client().scan_iter() if not key.startswith(b"_kombu")] == []


@given(some.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(raw: bytes) -> None:
    try:
        handed = Handed.parse(raw)
    except EnvelopeForged:
        return
    assert Handed.parse(handed.pack()) == handed


@given(some.dictionaries(some.sampled_from(["asked", "node", "turn", "attempt", "envelope", "more"]), some.none() | some.text() | some.integers() | some.lists(some.text())))
def test_any_object_is_a_message_or_refused(body: dict[str, Any]) -> None:
    try:
        handed = Handed.parse(orjson.dumps(body, default=str))
    except (EnvelopeForged, orjson.JSONEncodeError):
        return
    assert isinstance(handed.node, str)


def test_an_outcome_ends_its_turn_once(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    handed = Handed(Asked.FINISH, "home", turn, 1, nodes.outcome(job, "Because."))
    for _ in range(2):
        inbox.act(handed.pack())
    assert turns.reply(turn) == "Because."


def test_an_outcome_in_anothers_name_is_refused(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disbelief, "_counted", disbelief._Counted())
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    for node, attempt in (("away", 1), ("home", 2)):
        inbox.act(Handed(Asked.FINISH, node, turn, attempt, nodes.outcome(job, "Forged.", node="away")).pack())
    assert turns.ending(turn) is None
    [told] = [row for row in trail.listed() if row.action == "envelope.refused"]
    assert (told.actor, told.door, told.details["count"]) == ("away", "node", 1), "once a minute"


def test_an_outcome_that_postgresql_cannot_take_now_becomes_a_task_that_waits(
    ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()

    def away(*_: object) -> None:
        raise inbox.Unavailable

    monkeypatch.setattr(turns, "finish_all", away)
    sealed = nodes.outcome(job, "MARKER")
    inbox.act(Handed(Asked.FINISH, "home", turn, 1, sealed).pack())
    assert tasks.lying(redis.client(), names.TURNS) == [(names.FINISH, [turn, 1, "home", sealed])]


@pytest.mark.parametrize("bad", ["a node's name without end", "a model with a NUL", "what nobody foresaw"])
def test_one_that_is_bad_takes_no_other_along(ada: Member, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    nodes.ready()
    first, second = ada.ask(ada.session()).turn, ada.ask(ada.session()).turn
    jobs = {job.turn: job for job in nodes.jobs()}
    finish_all = turns.finish_all

    def unforeseen(handed: Any) -> Any:
        if any(one.turn == first for one in handed):
            raise RuntimeError
        return finish_all(handed)

    if bad == "what nobody foresaw":
        monkeypatch.setattr(turns, "finish_all", unforeseen)
    name, attempt = ("x" * 70_000, 2) if bad == "a node's name without end" else ("home", 1)
    taken = Handed(Asked.FINISH, name, first, attempt, nodes.outcome(jobs[first], model="odd\0"))
    inbox.act(taken.pack(), Handed(Asked.FINISH, "home", second, 1, nodes.outcome(jobs[second], "Because.")).pack())
    assert turns.reply(second) == "Because."
    assert (turns.ending(first) is not None) == (bad == "a model with a NUL")


def test_a_node_that_came_up_is_given_what_waits(ada: Member) -> None:
    turn = ada.ask(ada.session()).turn
    nodes.ready()
    inbox.act(Handed(Asked.DISPATCH, "home").pack())
    assert [job.turn for job in nodes.jobs()] == [turn]
