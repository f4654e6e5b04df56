"""Real nodes under their own Redis users: they answer, they drain, and what a killed one had begun is taken up."""

import re
from typing import Any
from uuid import UUID

import pytest
from pytest_celery import CeleryTestSetup

from app.core import keys, redis
from app.core.db import transaction
from app.core.models import Turn
from app.services import nodes, queue, replay, sweep, turns
from app.wire import names
from app.wire.jobs import Job
from app.wire.states import TurnState
from tests.fakes.llama import reply_text
from tests.support import nodes as played
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until
from tests.workers.conftest import Engine, Nodes

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}


LONG = 1000
"""Tokens of a reply that is not over before something has been done to it."""


def row(turn: str) -> Turn:
    with transaction() as tx:
        return tx.get_one(Turn, UUID(turn))


def expected(words: str, tokens: int = 60) -> str:
    return reply_text([SYSTEM, {"role": "user", "content": words}], tokens)


def ready(name: str) -> bool:
    return bool(redis.client().hget(names.node_key(name), "state") == b"ready")


def written(turn: str, session: str) -> int:
    return len(replay.text(turn, session))


def no_refusals(*nodes: Any) -> None:
    for node in nodes:
        assert not re.search("NOPERM|no permissions|Traceback", node.logs()), node.logs()


def test_answers_with_no_more_rights_than_its_own(setup: CeleryTestSetup, node_workers: Nodes, ada: Member) -> None:
    node = node_workers.start()
    until(lambda: ready("home"), said=node.logs)
    session = ada.session()
    asked = {ada.ask(session, words).turn: words for words in ("One?", "Two?", "Three?")}
    for turn, words in asked.items():
        until(lambda turn=turn: row(turn).state == TurnState.DONE, said=node.logs)
        assert turns.reply(turn) == expected(words)
        assert row(turn).model
        assert row(turn).attempt == 1
    no_refusals(node, setup.worker)
    for words in asked.values():
        assert words not in node.logs()
    until(lambda: redis.client().scard(names.node_leases("home")) == 0, said=node.logs)
    until(lambda: nodes.listed()[0].tokens_per_second is not None, said=node.logs)  # It says so with its next beat.
    [told] = nodes.listed()
    assert (told.name, told.lane, told.slots, told.busy, told.state, told.model) == ("home", "queue", 2, 0, "ready", row(turn).model)
    assert told.tokens_per_second
    assert told.memory
    assert 0 < redis.client().ttl(names.node_key("home")) <= names.NODE_TTL_SECONDS, "a node that falls silent is away soon"


def test_takes_what_waited_for_it(setup: CeleryTestSetup, node_workers: Nodes, ada: Member) -> None:
    turn = ada.ask(ada.session(), "Anybody?").turn
    assert row(turn).state == TurnState.QUEUED
    node = node_workers.start()
    until(lambda: row(turn).state == TurnState.DONE, said=node.logs)


def test_takes_what_came_while_the_broker_had_given_it_up(setup: CeleryTestSetup, node_workers: Nodes, ada: Member) -> None:
    node = node_workers.start()
    until(lambda: ready("home"), said=node.logs)
    redis.client().delete(names.node_key("home"))  # As when it was out of reach for longer than its beat is good.
    turn = ada.ask(ada.session(), "Anybody?").turn
    until(lambda: row(turn).state == TurnState.DONE, said=node.logs)  # And no sweeper runs here.


def test_what_a_killed_node_had_begun_goes_on_elsewhere(
    setup: CeleryTestSetup, node_workers: Nodes, ada: Member, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.fake.options.length = LONG
    # The sweeper runs here, with less patience than the ten seconds of a real one.
    monkeypatch.setitem(sweep.LEASE, "queue", 2)
    first = node_workers.start("home")
    until(lambda: ready("home"), said=first.logs)
    session = ada.session()
    turn = ada.ask(session, "Go on and on.").turn
    until(lambda: written(turn, session) > 40, said=first.logs)
    first.kill()
    redis.client().delete(names.node_key("home"))
    second = node_workers.start("away")
    until(lambda: ready("away"), said=second.logs)
    until(lambda: sweep.sweep() or row(turn).attempt == 2, said=second.logs)
    until(lambda: row(turn).state == TurnState.DONE, said=second.logs)
    assert (row(turn).attempt, row(turn).node) == (2, "away")
    assert turns.reply(turn) == expected("Go on and on.", LONG), "carried on where the other was cut off"
    no_refusals(second, setup.worker)


def test_sigterm_hands_a_turn_on_at_once(setup: CeleryTestSetup, node_workers: Nodes, ada: Member, engine: Engine) -> None:
    engine.fake.options.length = LONG
    first = node_workers.start("home")
    until(lambda: ready("home"), said=first.logs)
    second = node_workers.start("away")
    until(lambda: ready("away"), said=second.logs)
    session = ada.session()
    asked = {ada.ask(session, words).turn: words for words in ("One?", "Two?")}
    for turn in asked:
        until(lambda turn=turn: written(turn, session) > 20)
    assert {row(turn).node for turn in asked} == {"home", "away"}
    first.kill(signal="SIGTERM")
    assert first.container.exit_status == 0, first.logs()
    for turn, words in asked.items():
        until(lambda turn=turn: row(turn).state == TurnState.DONE, said=second.logs)
        assert turns.reply(turn) == expected(words, LONG)
        assert row(turn).node == "away"


def test_stop_frees_the_engine(setup: CeleryTestSetup, node_workers: Nodes, ada: Member, engine: Engine) -> None:
    engine.fake.options.length = LONG
    node = node_workers.start(slots=1)
    until(lambda: ready("home"), said=node.logs)
    session = ada.session()
    turn = ada.ask(session, "For ever.").turn
    until(lambda: written(turn, session) > 20)
    assert not redis.client().keys("*unacked*inference*"), "what it has taken is noted nowhere: that would be a round trip"
    turns.stop(turn, ada.id)
    until(lambda: row(turn).state == TurnState.CANCELLED, said=node.logs)
    assert expected("For ever.", LONG).startswith(turns.reply(turn))
    engine.fake.options.length = 60
    after = ada.ask(session, "Next?").turn
    until(lambda: row(after).state == TurnState.DONE, said=node.logs)


def test_a_redis_that_forgets_all_in_the_middle_costs_nothing(
    setup: CeleryTestSetup, node_workers: Nodes, ada: Member, servers: Servers
) -> None:
    node = node_workers.start()
    until(lambda: ready("home"), said=node.logs)
    session = ada.session()
    turn = ada.ask(session, "Remember!").turn
    until(lambda: written(turn, session) > 40)
    redis.client().flushall()
    until(lambda: sweep.sweep() or row(turn).state == TurnState.DONE, said=node.logs)
    until(lambda: row(turn).state == TurnState.DONE, said=node.logs)
    assert turns.reply(turn) == expected("Remember!")
    after = ada.ask(session, "And now?").turn
    until(lambda: ready("home"))
    until(lambda: sweep.sweep() or row(after).state == TurnState.DONE, said=node.logs)
    until(lambda: row(after).state == TurnState.DONE, said=node.logs)


def test_a_reply_that_is_carried_on_is_whole_in_a_redis_that_forgot_it(
    setup: CeleryTestSetup, node_workers: Nodes, ada: Member
) -> None:
    session = ada.session()
    turn = ada.ask(session, "Carry on!").turn
    queue.remove(turn, ada.id)  # It is given out by hand, as if Redis had lost everything after its lease.
    with transaction() as tx:
        found = tx.get_one(Turn, UUID(turn))
        found.attempt, found.state, found.node, found.lane = 1, "running", "home", "queue"
    redis.client().delete(names.turn_meta(turn))
    words = expected("Carry on!")
    key = keys.events("home", session, turn, 1).dump()
    said = [SYSTEM, {"role": "user", "content": "Carry on!"}]
    job = Job(turn, 1, session, said, prefix=words[:24], event_key=key, leased_ms=_now())
    setup.app.send_task(
        names.GENERATE, args=(turn, 1, job.seal(keys.node("home"))), queue=names.inference_queue("home")
    )
    node = node_workers.start()
    until(lambda: row(turn).state == TurnState.DONE, said=node.logs)
    assert turns.reply(turn) == words
    assert replay.text(turn, session) == words


def _now() -> int:
    seconds, micros = redis.client().time()
    return int(seconds * 1000 + micros // 1000)


def test_a_job_delivered_twice_is_run_once(setup: CeleryTestSetup, node_workers: Nodes, ada: Member) -> None:
    played.ready()
    session = ada.session()
    turn = ada.ask(session, "Twice?").turn
    queue = names.inference_queue("home")
    [job] = redis.client().lrange(queue, 0, -1)
    redis.client().lpush(queue, job)
    node = node_workers.start()
    setup.app.send_task(names.GENERATE, args=(turn, 1, "1forged"), queue=queue)
    until(lambda: row(turn).state == TurnState.DONE, said=node.logs)
    until(lambda: "job.dropped" in node.logs() and "job.refused" in node.logs(), said=node.logs)
    assert turns.reply(turn) == expected("Twice?")
    assert node.logs().count(f"Task {names.GENERATE}") >= 3
