"""A ban ends what somebody has waiting and running, and no prompt of theirs slips in beside it."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text

from app.core import redis
from app.core.db import transaction
from app.core.models import Session, Turn, User, now
from app.services import accounts, sweep, turns
from app.wire import names
from app.wire.errors import NotFound
from app.wire.states import Door, TurnState
from tests.support import nodes
from tests.support.people import Member
from tests.support.waiting import PATIENCE, until


def row(turn: str) -> Turn:
    with transaction() as tx:
        return tx.get_one(Turn, UUID(turn))


def _held_back(number: int) -> bool:
    query = text("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
    with transaction() as tx:
        return (tx.scalar(query) or 0) >= number


def _answer(work: Future[Any]) -> Any:
    return work.exception(PATIENCE) or work.result(PATIENCE)


@pytest.mark.parametrize("again", [False, True], ids=["prompt", "retry"])
def test_a_prompt_in_the_moment_of_a_ban_is_refused(ada: Member, again: bool) -> None:
    """The ban is written and not committed yet when the prompt comes."""
    session = ada.session()
    old = ada.ask(session).turn
    turns.stop(old, ada.id)
    with ThreadPoolExecutor(1) as pool:
        with transaction() as tx:
            tx.get_one(User, UUID(ada.id), with_for_update=True).disabled_at = now()
            tx.flush()
            one = (ada.id, session, str(uuid4()))
            prompt = pool.submit(turns.retry, *one, old, Door.WEB) if again else pool.submit(turns.submit, *one, "Why?", None, Door.WEB)
            until(lambda: _held_back(1))
        assert isinstance(_answer(prompt), NotFound)
    with transaction() as tx:
        assert tx.scalar(select(func.count()).select_from(Turn)) == 1


def test_a_prompt_in_the_moment_before_a_ban_is_stopped_by_it(ada: Member) -> None:
    """The prompt is written and not committed yet when the ban comes: it waits, and then finds it."""
    session = ada.session()
    with ThreadPoolExecutor(2) as pool:
        with transaction() as tx:
            tx.get_one(Session, UUID(session), with_for_update=True)  # Keeps the prompt from its last step.
            prompt = pool.submit(turns.submit, ada.id, session, str(uuid4()), "Why?", None, Door.WEB)
            until(lambda: _held_back(1))
            ban = pool.submit(accounts.disable, ada.name, "test", Door.CLI)
            until(lambda: _held_back(2))
        accepted = _answer(prompt)
        assert _answer(ban) is None
    assert (row(accepted.turn).state, row(accepted.turn).stopped) == (TurnState.CANCELLED, True)


def test_a_ban_ends_what_waits_and_what_runs_also_where_its_process_dies(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.ready(slots=1)
    running, waiting = (ada.ask(ada.session()).turn for _ in range(2))
    [job] = nodes.jobs()
    with monkeypatch.context() as died:
        died.setattr(turns, "stop", lambda *_: None)
        accounts.disable(ada.name, "test", Door.CLI)
    sweep.sweep()
    assert row(waiting).state == TurnState.CANCELLED
    assert redis.client().hget(names.turn_meta(running), "stop") == b"1"
    nodes.finish(job, "Because", TurnState.CANCELLED)
    assert row(running).state == TurnState.CANCELLED
    assert redis.client().scard(names.node_leases("home")) == 0
    assert nodes.jobs() == []
