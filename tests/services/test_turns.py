"""A turn's life on real servers: taken in once, ended once, whoever comes late, twice or with forged words."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from app.core import redis
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Message, Metric, Session, Turn
from app.services import dispatch, metrics, outcomes, queue, session_list, sessions, sweep, turns
from app.stream.append import Entry
from app.wire import names
from app.wire.errors import BadInput, Busy, EnvelopeError, NotFound, PromptTooLong
from app.wire.states import Door, TurnState, Verdict
from tests.support import nodes
from tests.support.nodes import PlayedNode
from tests.support.people import Member


def row(turn: str) -> Turn:
    with transaction() as tx:
        return tx.get_one(Turn, UUID(turn))


def count(table: type[Turn] | type[Message] | type[Session]) -> int:
    with transaction() as tx:
        return tx.scalar(select(func.count()).select_from(table)) or 0


def at_once(work: Callable[[int], object], times: int) -> list[object]:
    """Run it in threads that begin at the same moment; an error stands in the place of its answer."""
    together = threading.Barrier(times)

    def run(number: int) -> object:
        together.wait(10)
        try:
            return work(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(run, range(times)))


def test_the_same_prompt_twice_is_one_turn(ada: Member) -> None:
    session, identity = ada.session(), str(uuid4())
    first = turns.submit(ada.id, session, identity, "Hello?", None, Door.WEB)
    second = turns.submit(ada.id, session, identity, "Hello again?", None, Door.WEB)
    assert (second.turn, second.message, second.text) == (first.turn, first.message, "Hello?")
    assert (count(Turn), count(Message)) == (1, 1)


def test_the_same_prompt_from_everywhere_at_once_is_one_turn(ada: Member) -> None:
    session, identity = ada.session(), str(uuid4())
    answers = at_once(lambda _: turns.submit(ada.id, session, identity, "Hello?", None, Door.WEB), 6)
    accepted = [answer for answer in answers if isinstance(answer, turns.Accepted)]
    assert len({answer.turn for answer in accepted}) == 1
    assert len(accepted) == len(answers), answers
    assert (count(Turn), count(Message)) == (1, 1)
    assert queue.waiting() == [accepted[0].turn]


def test_the_same_id_in_two_sessions_is_two_turns(ada: Member) -> None:
    identity = str(uuid4())
    made = {turns.submit(ada.id, ada.session(), identity, "Hello?", None, Door.WEB).turn for _ in range(2)}
    assert len(made) == 2


@pytest.mark.parametrize("identity", ["", "x", "no uuid at all", "0" * 31, "g" * 32])
def test_a_prompt_needs_an_id(ada: Member, identity: str) -> None:
    with pytest.raises(BadInput):
        turns.submit(ada.id, ada.session(), identity, "Hello?", None, Door.WEB)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("plain", "plain"),
        (" spaces stay ", " spaces stay "),
        ("nul\0byte", "nulbyte"),
        ("lone \ud800 surrogate \udfff", "lone ? surrogate ?"),
        ("emoji 👩‍👩‍👧 flag 🏳️‍🌈", "emoji 👩‍👩‍👧 flag 🏳️‍🌈"),
        ("שלום \u202e evil", "שלום \u202e evil"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
def test_what_is_typed_is_kept_as_text(ada: Member, words: str, kept: str) -> None:
    session = ada.session()
    accepted = ada.ask(session, words)
    assert accepted.text == kept
    assert sessions.show(session, ada.id).messages[0]["text"] == kept


@pytest.mark.parametrize("words", ["", " ", "\n\t ", "\0", "\0\0 \0"])
def test_nothing_is_no_prompt(ada: Member, words: str) -> None:
    with pytest.raises(BadInput):
        ada.ask(ada.session(), words)
    assert count(Turn) == 0


def test_too_much_is_refused_with_the_limit(ada: Member) -> None:
    limit = settings().prompt_limit
    session = ada.session()
    with pytest.raises(PromptTooLong, match=f"{limit:,}"):
        ada.ask(session, "x" * (limit + 1))
    with pytest.raises(PromptTooLong):
        ada.ask(session, "x" * 1_000_000)
    assert ada.ask(session, "é" * limit).turn


def test_nobody_waits_with_more_than_the_limit(ada: Member, bob: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEATLIZARD_WAITING_LIMIT", "3")
    settings.cache_clear()
    session = ada.session()
    asked = [ada.ask(session) for _ in range(3)]
    with pytest.raises(Busy, match="3"):
        ada.ask(session)
    assert count(Message) == 3, "the refused prompt left nothing behind"
    bob.ask(bob.session())
    turns.stop(asked[0].turn, ada.id)
    assert ada.ask(session).turn


def test_a_parent_is_a_message_of_the_same_session(ada: Member) -> None:
    nodes.ready()
    session, other = ada.session(), ada.session()
    prompt = ada.ask(session)
    nodes.finish(nodes.jobs()[0])
    reply = sessions.show(session, ada.id).messages[1]["id"]
    with pytest.raises(BadInput):
        ada.ask(session, parent=str(uuid4()))
    for foreign in (reply, prompt.message):
        with pytest.raises(BadInput):
            ada.ask(other, parent=foreign)
    with pytest.raises(NotFound):
        ada.ask(session, parent="nonsense")
    assert ada.ask(session, parent=reply).parent == reply


def test_an_edited_prompt_begins_a_branch(ada: Member) -> None:
    nodes.ready()
    session = ada.session()
    ada.ask(session, "Root")
    nodes.finish(nodes.jobs()[0], "Reply")
    reply = sessions.show(session, ada.id).messages[1]["id"]
    for words in ("One way", "The other way"):
        ada.ask(session, words, reply)
    said = [[message["content"] for message in job.messages[1:]] for job in nodes.jobs()]
    assert said == [["Root", "Reply", "One way"], ["Root", "Reply", "The other way"]]


def test_a_worker_killed_before_it_asked_for_the_mirror_leaves_that_to_the_next(
    ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(outcomes, "ask_relay", lambda *words, **_: asked.append(words))
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "_tell", _die)
        with pytest.raises(KeyboardInterrupt):
            nodes.finish(job)
    assert row(turn).state == TurnState.DONE
    assert asked == []
    nodes.finish(job)
    assert asked == [(names.POST_MIRROR, turn)]


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_finishing_twice_changes_nothing(ada: Member) -> None:
    nodes.ready()
    session = ada.session()
    turn = ada.ask(session).turn
    [job] = nodes.jobs()
    assert nodes.finish(job, "First.")
    assert not nodes.finish(job, "Second.")
    assert not nodes.finish(job, "", TurnState.FAILED, reason="late", retriable=True)
    assert turns.reply(turn) == "First."
    assert row(turn).state == TurnState.DONE
    assert redis.client().xlen(names.turn_stream(turn)) == 1
    metrics.drain()
    with transaction() as tx:
        [figures] = tx.scalars(select(Metric))
    assert figures.outcome == TurnState.DONE


def test_finishing_from_everywhere_at_once_counts_once(ada: Member) -> None:
    nodes.ready()
    session = ada.session()
    turn = ada.ask(session).turn
    [job] = nodes.jobs()
    answers = at_once(lambda number: nodes.finish(job, f"Text {number}."), 6)
    assert answers.count(True) == 1
    assert turns.reply(turn) == f"Text {answers.index(True)}."
    assert count(Message) == 2


def test_an_older_attempt_ends_nothing(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [old] = nodes.jobs()
    assert turns.again(turn, 1, "its node fell silent")
    [new] = nodes.jobs()
    assert new.attempt == 2
    assert not nodes.finish(old, "Old.")
    assert row(turn).state == TurnState.RUNNING
    assert nodes.finish(new, "New.")
    assert turns.reply(turn) == "New."


def _forget_lease(turn: str) -> None:
    """What a PostgreSQL that crashed has of a turn that was leased in its last half second."""
    with transaction() as tx:
        tx.execute(update(Turn).where(Turn.id == UUID(turn)).values(attempt=0, state="queued", node=None, lane=None, leased_at=None))


def test_an_outcome_counts_whose_lease_went_with_a_crash(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    _forget_lease(turn)
    assert nodes.finish(job, "Because.")
    assert (turns.reply(turn), row(turn).attempt, row(turn).node) == ("Because.", 1, "home")
    assert not redis.client().scard(names.node_leases("home"))


def test_an_outcome_whose_lease_nobody_knows_does_not_count(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    _forget_lease(turn)
    with pytest.raises(EnvelopeError):
        turns.finish(turn, 1, "away", nodes.outcome(job, "Mine."))
    assert not turns.finish(turn, 1, "away", nodes.outcome(job, "Mine.", node="away"))
    redis.client().delete(names.turn_meta(turn))
    assert not nodes.finish(job, "Because.")
    assert row(turn).state == TurnState.QUEUED


def test_words_that_another_node_sealed_are_refused(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    for forged in (
        lambda: turns.finish(turn, 1, "home", nodes.outcome(job, node="away")),
        lambda: turns.finish(turn, 2, "home", nodes.outcome(job)),
        lambda: turns.finish(turn, 1, "home", "1garbage"),
    ):
        with pytest.raises(EnvelopeError):
            forged()
    assert row(turn).state == TurnState.RUNNING


def test_a_node_that_was_not_asked_ends_nothing(ada: Member) -> None:
    """It can seal as itself, but the attempt is another node's."""
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    with pytest.raises(EnvelopeError):
        turns.finish(turn, 1, "away", nodes.outcome(job, "Mine.", node="away"))
    assert row(turn).state == TurnState.RUNNING


def test_three_attempts_then_a_reason(ada: Member) -> None:
    nodes.ready()
    session = ada.session()
    turn = ada.ask(session).turn
    for attempt in range(1, names.MAX_ATTEMPTS + 1):
        [job] = nodes.jobs()
        assert job.attempt == attempt
        nodes.finish(job, "half", TurnState.FAILED, reason=f"crash {attempt}", retriable=True)
    assert nodes.jobs() == []
    assert row(turn).state == TurnState.FAILED
    [shown] = [message for message in sessions.show(session, ada.id).messages if message["role"] == "assistant"]
    assert (shown["state"], shown["reason"], shown["text"]) == ("failed", "crash 3", "half")
    assert redis.client().scard(names.node_leases("home")) == 0


def test_a_request_that_cannot_succeed_is_not_tried_again(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    nodes.finish(nodes.jobs()[0], "", TurnState.FAILED, reason="The prompt is too long for this model.")
    assert (row(turn).state, row(turn).attempt) == (TurnState.FAILED, 1)


def test_a_stopped_turn_is_not_tried_again(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    turns.stop(turn, ada.id)
    nodes.finish(job, "so far", TurnState.FAILED, reason="moved", retriable=True)
    assert row(turn).state == TurnState.CANCELLED
    assert turns.reply(turn) == "so far"


def test_stopping_what_waits_ends_it_at_once(ada: Member) -> None:
    turn = ada.ask(ada.session()).turn
    turns.stop(turn, ada.id)
    assert row(turn).state == TurnState.CANCELLED
    assert queue.waiting() == []
    turns.stop(turn, ada.id)
    nodes.ready()
    assert turns.dispatch.dispatch() == 0


def test_stop_beside_finish_leaves_one_end(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    at_once(lambda number: nodes.finish(job) if number else turns.stop(turn, ada.id), 2)
    assert row(turn).state == TurnState.DONE
    assert redis.client().scard(names.node_leases("home")) == 0


def test_retry_answers_the_same_prompt_in_a_turn_of_its_own(ada: Member) -> None:
    nodes.ready()
    session = ada.session()
    first = ada.ask(session)
    with pytest.raises(BadInput):
        turns.retry(ada.id, session, str(uuid4()), first.turn, Door.WEB)
    nodes.finish(nodes.jobs()[0])
    identity = str(uuid4())
    again = turns.retry(ada.id, session, identity, first.turn, Door.WEB)
    assert turns.retry(ada.id, session, identity, first.turn, Door.WEB).turn == again.turn
    assert (again.message, again.turn == first.turn) == (first.message, False)
    nodes.finish(nodes.jobs()[0], "Otherwise.")
    assert [message["parent"] for message in sessions.show(session, ada.id).messages] == [None, first.message, first.message]


def test_everything_asks_whose_it_is(ada: Member, bob: Member) -> None:
    session = ada.session()
    turn = ada.ask(session).turn
    stranger = bob.id
    for attempt in (
        lambda: bob.ask(session),
        lambda: turns.retry(stranger, session, str(uuid4()), turn, Door.WEB),
        lambda: turns.retry(stranger, bob.session(), str(uuid4()), turn, Door.WEB),
        lambda: turns.stop(turn, stranger),
        lambda: turns.owned(turn, stranger, session),
        lambda: turns.owned(turn, ada.id, ada.session()),
        lambda: sessions.show(session, stranger),
        lambda: sessions.check(session, stranger),
        lambda: sessions.rename(session, stranger, "Mine"),
        lambda: sessions.remove(session, stranger),
        lambda: sessions.unfinished(session, stranger),
        lambda: sessions.show("nonsense", ada.id),
        lambda: sessions.show(str(uuid4()), ada.id),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert session not in [one.id for one in session_list.page(stranger).sessions]
    assert row(turn).state == TurnState.QUEUED
    assert sessions.show(session, ada.id).title != "Mine"


def test_a_deleted_session_takes_its_turns_along(ada: Member) -> None:
    nodes.ready(slots=1)
    session = ada.session()
    running, waiting = ada.ask(session).turn, ada.ask(session).turn
    [job] = nodes.jobs()
    sessions.remove(session, ada.id)
    assert (count(Turn), count(Message), count(Session)) == (0, 0, 0)
    assert not nodes.finish(job)
    assert redis.client().scard(names.node_leases("home")) == 0
    turns.dispatch.dispatch()
    assert nodes.jobs() == []
    assert queue.waiting() == []
    assert running != waiting
    after = ada.ask(ada.session()).turn
    assert [job.turn for job in nodes.jobs()] == [after]


def test_titles_and_bodies_lie_sealed(ada: Member) -> None:
    session = ada.session()
    ada.ask(session, "MARKER one\nline\u0007two " + "x" * 200)
    with transaction() as tx:
        kept = tx.get_one(Session, UUID(session))
        message = tx.scalars(select(Message)).one()
        assert kept.title
        assert b"MARKER" not in kept.title + message.body
        title = sessions.title(kept)
    assert title.startswith("MARKER one line two xxx")
    assert title.endswith("…")
    assert len(title) <= sessions.TITLE_LENGTH
    assert sessions.rename(session, ada.id, "Mine now").title == "Mine now"
    ada.ask(session, "Another prompt")
    assert session_list.page(ada.id).sessions[0].title == "Mine now"


def test_an_outcome_may_be_large(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    text = "ä" * 500_000
    nodes.finish(nodes.jobs()[0], text)
    assert turns.reply(turn) == text
    kind, attempt, facts = turns.ending(turn) or (None, 0, {})
    assert (kind, attempt, facts["at"]) == ("done", 1, 1_000_000)


def test_a_redis_that_is_away_costs_no_prompt(ada: Member, servers: object, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ada.session()
    monkeypatch.setattr(queue, "enqueue", _away)
    turn = ada.ask(session).turn
    assert row(turn).state == TurnState.QUEUED


def _away(*_: object, **__: object) -> None:
    raise redis.RedisError("away")


def test_give_up_keeps_what_was_seen(ada: Member) -> None:
    nodes.ready()
    session = ada.session()
    turn = ada.ask(session).turn
    turns.give_up(turn, 1, session, TurnState.FAILED, outcomes.LOST_REASON)
    assert row(turn).state == TurnState.FAILED
    [shown] = sessions.show(session, ada.id).turns
    assert shown["reason"] == outcomes.LOST_REASON


@pytest.mark.parametrize(
    "odd",
    [
        {"prompt_tokens": 10**12, "completion_tokens": -1},
        {"prompt_tokens": "many", "completion_tokens": None},
        {"prompt_tokens": 5.5, "total_ms": "long", "tokens_per_second": 1e300},
        {"prompt_ms": None, "first_token_ms": [], "left_out": {}, "model": 7, "finish_reason": 3},
    ],
)
def test_figures_that_cannot_be_kept_cost_no_reply(ada: Member, odd: dict[str, Any]) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    [job] = nodes.jobs()
    assert nodes.finish(job, "Because.", **odd)
    assert turns.reply(turn) == "Because."
    after = ada.ask(ada.session()).turn
    assert [one.turn for one in nodes.jobs()] == [after]


def test_stop_reads_an_id_in_any_spelling(ada: Member) -> None:
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    turns.stop(turn.replace("-", "").upper(), ada.id)
    assert redis.client().hget(names.turn_meta(turn), "stop") == b"1"


def test_a_node_that_goes_down_is_given_nothing_more(ada: Member) -> None:
    """It was given the same turn thrice in a second, and the turn failed (keys rotated under load in Discord)."""
    nodes.ready()
    turn = ada.ask(ada.session()).turn
    (job,) = nodes.jobs()
    assert nodes.finish(job, "Bec", TurnState.FAILED, retriable=True, leaving=True, reason="It goes down.")
    dispatch.dispatch()
    assert nodes.jobs() == []
    assert turn in queue.waiting()
    nodes.ready()
    dispatch.dispatch()
    (again,) = nodes.jobs()
    assert (again.turn, again.attempt) == (turn, 2)


@pytest.mark.parametrize("away", [False, True])
async def test_stopping_between_two_attempts_keeps_what_was_seen(
    ada: Member, node: PlayedNode, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    turn = ada.ask(ada.session()).turn
    writing = await node.take()
    await writing.begin()
    await writing.say("Because the")
    nodes.ready(state="starting")
    assert await writing.end(TurnState.FAILED, retriable=True, reason="It was killed.")
    assert queue.waiting() == [turn]
    with monkeypatch.context() as patch:
        if away:
            patch.setattr(queue, "remove", _away)
        turns.stop(turn, ada.id)
    if away:
        assert row(turn).state == TurnState.QUEUED
        sweep.sweep()
    assert row(turn).state == TurnState.CANCELLED
    assert turns.reply(turn) == "Because the"
    assert queue.waiting() == []
    assert await node.appender.append(Entry(turn, 1)) is Verdict.CLOSED, "its first node hears of it"
