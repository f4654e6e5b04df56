"""The platform's worker, really run, killed and restarted; the broker likewise. Each turn ends exactly once."""

import signal
from datetime import timedelta
from typing import Any
from uuid import UUID

from pytest_celery import CeleryTestSetup
from sqlalchemy import func, select

from app.core import redis
from app.core.db import transaction
from app.core.models import Login, Message, Metric, Turn, User, now
from app.services import archive, backups, transcripts
from app.wire import names
from app.wire.states import Door, TurnState
from tests.support import nodes
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until


def state(turn: str) -> str:
    with transaction() as tx:
        return tx.get_one(Turn, UUID(turn)).state


def counted(table: Any, *where: Any) -> int:
    with transaction() as tx:
        return tx.scalar(select(func.count()).select_from(table).where(*where)) or 0


def figures(setup: CeleryTestSetup) -> int:
    """Let what was measured be written, as beat does all the time; return how much there is."""
    setup.app.send_task(names.LOG_METRICS)
    return counted(Metric)


def send_outcome(setup: CeleryTestSetup, job: Any, text: str = "Because.") -> None:
    setup.app.send_task(names.FINISH, args=(job.turn, job.attempt, "home", nodes.outcome(job, text)))


def test_finishes_a_turn_and_keeps_its_figures(setup: CeleryTestSetup, ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    send_outcome(setup, job)
    until(lambda: state(turn) == TurnState.DONE, said=setup.worker.logs)
    until(lambda: figures(setup) == 1, said=setup.worker.logs)
    assert redis.client().scard(names.node_leases("home")) == 0


def test_runs_each_task_that_beat_may_send(setup: CeleryTestSetup, ada: Member) -> None:
    with transaction() as tx:
        for login in tx.scalars(select(Login)):
            login.expires_at = now()
        tx.add(User(name="guest-4711", role="guest", created_at=now() - timedelta(days=2)))
    people = counted(User)
    setup.app.send_task(names.EXPIRE_LOGINS)
    until(lambda: counted(Login) == 0, said=setup.worker.logs)
    until(lambda: counted(User) == people - 1, said=setup.worker.logs)
    turn = ada.ask(ada.session()).turn
    nodes.ready()
    redis.client().flushall()
    nodes.ready()
    setup.app.send_task(names.SWEEP)
    assert until(nodes.jobs, said=setup.worker.logs)[0].turn == turn


def test_a_store_that_is_away_is_asked_again_and_in_nobodys_way(setup: CeleryTestSetup, servers: Servers, ada: Member) -> None:
    """A transcript and a backup wait for the object store, try again by themselves, and turns end meanwhile."""
    nodes.ready()
    session = ada.session()
    ada.ask(session, "Why?")
    [job] = nodes.jobs()
    nodes.finish(job)

    def kept() -> transcripts.Kept:
        found = transcripts.about(session)
        assert found
        return found

    servers.s3.stop(signal.SIGKILL)
    try:
        archive.close(session, ada.id)
        backup = backups.begin("test", Door.CLI)
        until(lambda: kept().tries >= 2, 150, setup.worker.logs)
        assert (kept().state, "object store" in str(kept().error)) == ("waiting", True)
        turn = ada.ask(ada.session()).turn
        [job] = nodes.jobs()
        send_outcome(setup, job)
        until(lambda: state(turn) == TurnState.DONE, said=setup.worker.logs)
    finally:
        servers.s3.start()
    until(lambda: kept().state == "stored", 300, setup.worker.logs)
    until(lambda: {one.id: one.state for one in backups.listed()}[backup] == "proven", 400, setup.worker.logs)


def test_dispatches_when_a_node_has_come_up(setup: CeleryTestSetup, ada: Member) -> None:
    turn = ada.ask(ada.session()).turn
    nodes.ready()
    setup.app.send_task(names.DISPATCH)
    assert until(nodes.jobs, said=setup.worker.logs)[0].turn == turn


def test_tells_those_who_wait_when_the_line_moves(setup: CeleryTestSetup, ada: Member, bob: Member) -> None:
    nodes.ready(slots=1)
    session = ada.session()
    asked = [ada.ask(session).turn for _ in range(3)]

    def told(turn: str, place: bytes) -> bool:
        return (redis.client().hget(names.turn_meta(turn), "place") or b"").startswith(place)

    until(lambda: told(asked[1], b"1/") and told(asked[2], b"2/"), said=setup.worker.logs)
    [job] = nodes.jobs()
    send_outcome(setup, job)
    until(lambda: told(asked[2], b"1/"), said=setup.worker.logs)
    # Somebody who had nothing yet goes before a third prompt of the same person.
    bob.ask(bob.session())
    until(lambda: told(asked[2], b"2/"), said=setup.worker.logs)


def test_an_outcome_that_nobody_sealed_is_dropped(setup: CeleryTestSetup, ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    forged = nodes.outcome(job, "forged", node="away")
    setup.app.send_task(names.FINISH, args=(job.turn, job.attempt, "home", forged))
    until(lambda: "finish.refused" in setup.worker.logs())
    assert state(turn) == TurnState.RUNNING
    assert "forged" not in setup.worker.logs()
    send_outcome(setup, job)
    until(lambda: state(turn) == TurnState.DONE)


def test_killed_in_the_middle_of_finish_it_ends_the_turn_once(setup: CeleryTestSetup, ada: Member) -> None:
    """The worker is stopped at a lock that `finish` needs, killed there, and another one does it all again."""
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    with transaction() as tx:
        tx.get(Turn, UUID(turn), with_for_update=True)
        send_outcome(setup, job)
        until(lambda: _waits_for_a_lock(tx), said=setup.worker.logs)
        setup.worker.kill()
    assert setup.worker.container.status == "exited"
    # What waited at the lock is one statement: PostgreSQL may carry it out for a client that is gone. Nothing else was done.
    assert state(turn) in (TurnState.RUNNING, TurnState.DONE)
    assert not redis.client().hget(names.turn_meta(turn), "closed")
    setup.worker.restart()
    # The broker would give the task back after its visibility timeout; the node does not wait for that.
    send_outcome(setup, job)
    until(lambda: state(turn) == TurnState.DONE, said=setup.worker.logs)
    send_outcome(setup, job, "another text")
    send_outcome(setup, job)
    until(lambda: figures(setup) == 1 and not redis.client().llen(names.TURNS), said=setup.worker.logs)
    assert counted(Message) == 2
    closed = [fields for _, fields in redis.client().xrange(names.turn_stream(turn))]
    assert len(closed) == 1, "one end on the stream"


def _waits_for_a_lock(tx: Any) -> bool:
    query = "select count(*) from pg_locks where not granted"
    return bool(tx.connection().exec_driver_sql(query).scalar())


def test_killed_after_the_commit_the_rest_is_done_by_the_next_try(setup: CeleryTestSetup, ada: Member) -> None:
    """PostgreSQL has the reply, but the stream's end and the slot were never reached: the same task does them."""
    nodes.ready(slots=1)
    first, second = (ada.ask(ada.session()).turn for _ in range(2))
    [job] = nodes.jobs()
    assert job.turn == first
    setup.worker.kill()
    kept = dict(redis.client().hgetall(names.turn_meta(first)))
    nodes.finish(job)
    # As it was before: closed nowhere but in PostgreSQL, the slot taken, the second turn not yet out.
    redis.client().delete(names.turn_stream(first), names.turn_meta(first))
    redis.client().hset(names.turn_meta(first), mapping=kept)
    redis.client().sadd(names.node_leases("home"), first)
    setup.worker.restart()
    send_outcome(setup, job)
    until(lambda: redis.client().hget(names.turn_meta(first), "closed"), said=setup.worker.logs)
    until(lambda: not redis.client().sismember(names.node_leases("home"), first))
    assert state(second) == TurnState.RUNNING
    assert counted(Message, Message.role == "assistant") == 1


def test_the_broker_is_killed_while_tasks_are_queued(setup: CeleryTestSetup, ada: Member) -> None:
    nodes.ready(slots=4)
    turns = [ada.ask(ada.session()).turn for _ in range(4)]
    jobs = nodes.jobs()
    setup.worker.kill()
    for job in jobs[:2]:
        send_outcome(setup, job)
    until(lambda: int(redis.client().info("persistence")["aof_last_write_status"] == "ok"))
    redis.client().execute_command("WAITAOF", 1, 0, 5000)
    setup.broker.kill()
    assert setup.broker.container.status == "exited"
    setup.broker.restart()
    setup.worker.restart()
    for job in jobs[2:]:
        send_outcome(setup, job)
    until(lambda: all(state(turn) == TurnState.DONE for turn in turns), said=setup.worker.logs)


def test_the_broker_is_restarted_below_a_running_worker(setup: CeleryTestSetup, ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    setup.broker.restart()
    send_outcome(setup, job)
    until(lambda: state(turn) == TurnState.DONE, said=setup.worker.logs)
    assert setup.worker.container.status == "running"


def test_sigterm_ends_it_in_good_order(setup: CeleryTestSetup) -> None:
    setup.worker.kill(signal="SIGTERM")
    assert setup.worker.container.exit_status == 0, setup.worker.logs()


def test_no_prompt_reply_or_secret_in_its_log(setup: CeleryTestSetup, ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session(), "MARKERPROMPT").turn
    [job] = nodes.jobs()
    send_outcome(setup, job, "MARKERREPLY")
    until(lambda: state(turn) == TurnState.DONE, said=setup.worker.logs)
    said = setup.worker.logs()
    assert names.FINISH in said
    for secret in ("MARKERPROMPT", "MARKERREPLY", redis.client().connection_pool.connection_kwargs["password"]):
        assert secret not in said
