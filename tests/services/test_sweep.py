"""Whatever Redis or a node loses, the sweeper finds in the turn rows and sets moving again."""

from collections.abc import Callable
from uuid import UUID

import pytest

from app.core import keys, redis
from app.core.db import transaction
from app.core.models import Turn
from app.services import dispatch, outcomes, queue, sessions, sweep, turns
from app.stream.append import Entry
from app.wire import names
from app.wire.errors import EnvelopeForged
from app.wire.jobs import Job
from app.wire.states import TurnState, Verdict
from tests.support import nodes, tasks
from tests.support.nodes import PlayedNode
from tests.support.people import Member


def row(turn: str) -> Turn:
    with transaction() as tx:
        return tx.get_one(Turn, UUID(turn))


def silence(turn: str, seconds: int = names.LEASE_SECONDS + 1) -> None:
    """Let a turn's node have been silent for so long."""
    redis.client().hincrby(names.turn_meta(turn), "seen", -seconds * 1000)


def test_nothing_to_mend_is_left_alone(ada: Member) -> None:
    nodes.ready(slots=1)
    session = ada.session()
    running, waiting = ada.ask(session).turn, ada.ask(session).turn
    assert sweep.sweep() == 0
    assert [job.turn for job in nodes.jobs()] == [running]
    assert queue.waiting() == [waiting]


def test_waiting_turns_come_back_after_a_loss(ada: Member, bob: Member) -> None:
    session = ada.session()
    asked = [ada.ask(session).turn, ada.ask(session).turn, bob.ask(bob.session()).turn]
    redis.client().flushall()
    assert queue.waiting() == []
    assert sweep.sweep() == 3
    assert queue.waiting() == [asked[0], asked[2], asked[1]]
    nodes.ready(slots=3)
    sweep.sweep()
    assert {job.turn for job in nodes.jobs()} == set(asked)


def test_a_node_that_is_known_is_known_after_a_loss(ada: Member) -> None:
    nodes.ready()
    redis.client().flushall()
    redis.client().hset(names.node_key("home"), mapping={"state": "ready", "slots": 1, "lane": "queue"})
    turn = ada.ask(ada.session()).turn
    assert nodes.jobs() == []
    sweep.sweep()
    assert [job.turn for job in nodes.jobs()] == [turn]


def test_a_silent_node_loses_its_turn_to_another_attempt(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [first] = nodes.jobs()
    silence(turn)
    assert sweep.sweep() == 1
    [second] = nodes.jobs()
    assert (second.turn, second.attempt) == (turn, 2)
    assert not nodes.finish(first)
    assert nodes.finish(second)


def test_three_silences_fail_the_turn_with_a_reason(ada: Member) -> None:
    nodes.ready()
    session = ada.session()
    turn = ada.ask(session).turn
    for _ in range(names.MAX_ATTEMPTS):
        silence(turn)
        assert sweep.sweep() == 1
    assert row(turn).state == TurnState.FAILED
    assert sessions.show(session, ada.id).turns[0]["reason"] == outcomes.LOST_REASON
    assert redis.client().scard(names.node_leases("home")) == 0
    assert sweep.sweep() == 0


def test_a_stopped_turn_whose_node_is_gone_is_cancelled(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    turns.stop(turn, ada.id)
    silence(turn)
    sweep.sweep()
    assert row(turn).state == TurnState.CANCELLED


def test_a_running_turn_that_redis_lost_waits_for_its_node_then_goes_on(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    redis.client().flushall()
    assert sweep.sweep() == 0, "its node may lay it anew"
    assert row(turn).attempt == 1
    assert redis.client().hget(names.turn_meta(turn), "fence") == b"1", "the lease is there again"
    silence(turn)
    assert sweep.sweep() == 1
    assert row(turn).state == TurnState.QUEUED
    nodes.ready()
    sweep.sweep()
    [job] = nodes.jobs()
    assert (job.turn, job.attempt) == (turn, 2)


def sent() -> list[tuple[str, int]]:
    """Take the prompts that wait to be posted in Discord: turn and attempt of each."""
    found = []
    while task := tasks.take(redis.client(), names.RELAY):
        if task[0] == names.POST_PROMPT:
            turn, attempt, node, session, envelope = task[1]
            job = Job.open(envelope, keys.node(node), turn, attempt)
            assert (job.session, job.messages[-1]["content"]) == (session, "Why?")
            found.append((turn, attempt))
    return found


def test_a_prompt_for_discord_that_redis_lost_is_posted_by_the_next_sweep(ada: Member) -> None:
    nodes.ready(lane="discord")
    turn = ada.ask(ada.session(), "Why?").turn
    redis.client().flushall()
    assert sweep.sweep() == 1
    assert sent() == [(turn, 1)], "the same attempt: a node that has it refuses it"
    silence(turn)
    assert sweep.sweep() == 0, "once is enough"
    assert sent() == []


def test_a_prompt_for_discord_whose_task_was_lost_is_posted_once_more(ada: Member) -> None:
    nodes.ready(slots=3, lane="discord")
    lost, posted, gone = (ada.ask(ada.session(), "Why?").turn for _ in range(3))
    assert sent() == [(turn, 1) for turn in (lost, posted, gone)]
    assert sweep.sweep() == 0, "what was to post it has its time"
    redis.client().hset(names.turn_meta(posted), "posted", 1)
    for turn in (lost, posted, gone):
        silence(turn)
    with transaction() as tx:
        tx.get_one(Turn, UUID(gone)).state = TurnState.FAILED.value
    assert sweep.sweep() == 1
    assert sent() == [(lost, 1)]
    assert not dispatch.post_again(queue.Lease(gone, 1, "", "home", "discord"))
    assert not dispatch.post_again(queue.Lease(lost, 1, "", "den", "discord"))


def test_a_node_gets_the_lease_of_its_own_attempt_back_and_no_other(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    redis.client().flushall()
    assert not sweep.restore_one(turn, 1, "away")
    assert not sweep.restore_one(turn, 2, "home")
    assert not redis.client().exists(names.turn_meta(turn))
    assert sweep.restore_one(turn, 1, "home")
    assert not sweep.restore_one(turn, 1, "home"), "what is there stays as it is"
    assert redis.client().smembers(names.node_leases("home")) == {turn.encode()}


@pytest.mark.parametrize("gone", [False, True])
async def test_a_node_that_slept_through_its_turns_end_hears_that_it_is_over(ada: Member, node: PlayedNode, gone: bool) -> None:
    """Unknown, it laid its text in Redis again and asked for its lease four times a second, for a quarter of an hour."""
    session = ada.session()
    turn = ada.ask(session).turn
    writing = await node.take()
    await writing.begin()
    await writing.say("Because")
    turns.give_up(turn, 1, session, TurnState.CANCELLED, None)
    if gone:
        sessions.remove(session, ada.id)
    redis.client().delete(names.turn_meta(turn), names.turn_stream(turn))  # Their time ran out.
    assert await node.appender.append(Entry(turn, 1)) is Verdict.UNKNOWN
    assert not sweep.restore_one(turn, 1, "home")
    assert await node.appender.append(Entry(turn, 1)) is Verdict.STALE


async def test_a_node_whose_session_was_deleted_lets_go_of_the_turn(ada: Member, node: PlayedNode) -> None:
    session = ada.session()
    turn = ada.ask(session).turn
    writing = await node.take()
    await writing.begin()
    sessions.remove(session, ada.id)
    assert not await writing.end()
    assert await node.appender.append(Entry(turn, 1)) is Verdict.STALE
    assert 0 < redis.client().ttl(names.turn_meta(turn)) <= names.CLOSED_TTL_SECONDS


def test_a_lease_of_which_only_the_fence_is_there_takes_its_slot_again(ada: Member) -> None:
    """A frame from Discord may come to an emptied Redis before the sweeper does."""
    nodes.ready(slots=1)
    turn, late = ada.ask(ada.session()).turn, ada.ask(ada.session()).turn
    redis.client().flushall()
    redis.client().hset(names.turn_meta(turn), "fence", 1)
    nodes.ready(slots=1)
    sweep.sweep()
    assert redis.client().smembers(names.node_leases("home")) == {turn.encode()}
    assert queue.waiting() == [late], "there is one slot, and it is taken"
    redis.client().hset(names.turn_meta(turn), "closed", 1)
    queue.release(turn, 1)
    sweep.restore(row(turn))
    assert not redis.client().exists(names.node_leases("home")), "its end has begun"


async def test_what_waits_for_hours_keeps_its_place_and_its_text(ada: Member, node: PlayedNode) -> None:
    turn = ada.ask(ada.session()).turn
    writing = await node.take()
    await writing.begin()
    await writing.say("Because")
    nodes.ready(state="starting")
    await writing.end(TurnState.FAILED, retriable=True, reason="It was killed.")
    kept = names.turn_meta(turn), names.turn_stream(turn)
    for key in kept:
        redis.client().expire(key, 60)
    sweep.sweep()
    assert [redis.client().ttl(key) > names.STREAM_TTL_SECONDS / 2 for key in kept] == [True, True]


def test_a_sign_of_life_keeps_a_turn_with_its_node(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    silence(turn)
    seconds, _ = redis.client().time()
    redis.client().hset(names.node_alive("home"), turn, f"2 {seconds * 1000}")
    assert sweep.sweep() == 1, "another attempt's is none"
    [_, second] = nodes.jobs()
    silence(turn)
    redis.client().hset(names.node_alive("home"), turn, "what it likes")
    assert sweep.sweep() == 1, "nor is nonsense"
    silence(turn)
    redis.client().hset(names.node_alive("home"), turn, f"{second.attempt + 1} {seconds * 1000}")
    assert sweep.sweep() == 0


def test_a_turn_that_ended_in_postgresql_gives_its_slot_back(ada: Member) -> None:
    nodes.ready(slots=1)
    turn = ada.ask(ada.session()).turn
    nodes.finish(nodes.jobs()[0])
    # A worker that died between the commit and the release.
    redis.client().sadd(names.node_leases("home"), turn)
    redis.client().zadd(names.LEASES, {turn: 1})
    waiting = ada.ask(ada.session()).turn
    assert nodes.jobs() == []
    sweep.sweep()
    assert [job.turn for job in nodes.jobs()] == [waiting]


def test_a_slot_that_nobody_knows_of_comes_free(ada: Member) -> None:
    """The lease's entry is gone, but the node's own set still counts it."""
    nodes.ready(slots=1)
    redis.client().sadd(names.node_leases("home"), "00000000-0000-7000-8000-000000000000")
    turn = ada.ask(ada.session()).turn
    sweep.sweep()
    assert [job.turn for job in nodes.jobs()] == [turn]


def test_two_sweepers_at_once_do_it_once(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    nodes.jobs()
    silence(turn)
    with transaction() as tx:
        tx.connection().exec_driver_sql(f"select pg_advisory_xact_lock({sweep.LOCK})")
        assert sweep.sweep() == 0
    assert sweep.sweep() == 1


def test_a_lease_whose_job_was_never_sent_is_taken_up(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dispatcher died between the lease and the row: PostgreSQL says queued, Redis says leased."""
    nodes.ready()
    monkeypatch.setattr("app.services.dispatch._send", _die)
    with pytest.raises(KeyboardInterrupt):
        ada.ask(ada.session())
    monkeypatch.undo()
    [turn] = [turn.decode() for turn in redis.client().zrange(names.LEASES, 0, -1)]
    assert row(turn).state == TurnState.QUEUED
    assert sweep.sweep() == 0
    silence(turn)
    sweep.sweep()
    [job] = nodes.jobs()
    assert (job.turn, job.attempt) == (turn, 2)


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_one_turn_that_cannot_be_mended_keeps_no_other_from_it(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.ready(slots=2)
    bad, good = ada.ask(ada.session()).turn, ada.ask(ada.session()).turn
    nodes.jobs()
    for turn in (bad, good):
        silence(turn)
    again: Callable[..., bool] = turns.again

    def sometimes(turn: str, attempt: int, why: str) -> bool:
        if turn == bad:
            raise EnvelopeForged
        return again(turn, attempt, why)

    monkeypatch.setattr(turns, "again", sometimes)
    sweep.sweep()
    assert row(good).attempt == 2


def test_a_turn_deleted_in_this_moment_keeps_no_other_from_being_mended(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ada.session()
    gone, kept = ada.ask(session).turn, ada.ask(ada.session()).turn
    read = [row(gone), row(kept)]
    sessions.remove(session, ada.id)
    redis.client().flushall()
    monkeypatch.setattr(sweep, "_unfinished", lambda _: read)
    assert sweep.sweep() == 1
    assert queue.waiting() == [kept]


def test_an_emptied_redis_gives_no_node_more_turns_than_it_has_slots(ada: Member) -> None:
    nodes.ready(slots=1)
    session = ada.session()
    running, waiting = ada.ask(session).turn, ada.ask(session).turn
    [job] = nodes.jobs()
    assert job.turn == running
    redis.client().flushall()
    # The node goes on writing: it lays its stream anew, and beats.
    seconds, _ = redis.client().time()
    redis.client().hset(names.node_alive("home"), running, f"1 {seconds * 1000}")
    redis.client().hset(names.node_key("home"), mapping={"state": "ready", "slots": 1, "lane": "queue"})
    sweep.sweep()
    assert nodes.jobs() == []
    assert queue.waiting() == [waiting]
    nodes.finish(job)
    assert [one.turn for one in nodes.jobs()] == [waiting]


def test_a_stop_that_redis_never_heard_is_pressed_again(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    assert len(nodes.jobs()) == 1
    with transaction() as tx:
        tx.get_one(Turn, UUID(turn)).stopped = True
    assert redis.client().hget(names.turn_meta(turn), "stop") is None
    sweep.sweep()
    assert redis.client().hget(names.turn_meta(turn), "stop") == b"1"
    assert row(turn).state == TurnState.RUNNING
