"""Prompts and outcomes that come together are taken in together, and each still stands for itself."""

from uuid import uuid4

from sqlalchemy import select

from app.core.db import transaction
from app.core.models import Message, Turn
from app.services import shares, turns
from app.services.turns import Accepted, Prompted
from app.wire.errors import BadInput, Busy, EnvelopeForged, NotFound
from app.wire.inbox import Asked, Handed
from app.wire.states import Door, TurnState
from tests.support import nodes
from tests.support.people import Member, member


def prompt(who: Member, session: str, words: str = "Why?", parent: str | None = None, identity: str = "") -> Prompted:
    return Prompted(who.id, session, identity or str(uuid4()), words, parent, Door.WEB)


def test_each_prompt_has_its_own_answer(ada: Member) -> None:
    nodes.ready(slots=8)
    bob, session, identity = member("bob"), ada.session(), str(uuid4())
    asked = [
        prompt(ada, session, "One?", identity=identity),
        prompt(bob, session, "Not mine."),
        prompt(ada, session, "One again?", identity=identity),
        prompt(bob, bob.session(), " "),
        prompt(bob, bob.session(), "Below what?", parent=str(uuid4())),
        prompt(bob, bob.session(), "Two?"),
        prompt(ada, session, "Three?"),
    ]
    first, foreign, twice, empty, nowhere, second, third = turns.submit_all(asked)
    for one in (first, twice, second, third):
        assert isinstance(one, Accepted), one
    assert (twice.turn, twice.text) == (first.turn, "One?")
    assert isinstance(foreign, NotFound)
    assert isinstance(empty, BadInput)
    assert isinstance(nowhere, BadInput)
    assert {one.title for one in (first, third)} == {"One?"}
    jobs = nodes.jobs()
    assert {(job.turn, job.messages[-1]["content"]) for job in jobs} == {
        (first.turn, "One?"),
        (second.turn, "Two?"),
        (third.turn, "Three?"),
    }


def test_no_more_wait_than_may_however_they_come(ada: Member) -> None:
    shares.set_share(f"user:{ada.id}", ada.id, Door.CLI, waiting=2)
    answers = turns.submit_all([prompt(ada, ada.session(), f"{number}?") for number in range(4)])
    assert [type(answer) for answer in answers] == [Accepted, Accepted, Busy, Busy]


def test_each_outcome_counts_once(ada: Member) -> None:
    nodes.ready(slots=8)
    done, forged, old = (ada.ask(ada.session()).turn for _ in range(3))
    jobs = {job.turn: job for job in nodes.jobs()}
    turns.again(old, 1, "its node fell silent")
    nodes.jobs()

    def handed(turn: str, words: str, node: str = "home") -> Handed:
        return Handed(Asked.FINISH, node, turn, 1, nodes.outcome(jobs[turn], words, node=node))

    many = [handed(done, "Once."), handed(old, "Late."), handed(done, "Twice."), handed(forged, "Mine.", "away")]
    *counted, refused = turns.finish_all(many)
    assert counted == [True, False, True]
    assert isinstance(refused, EnvelopeForged)
    with transaction() as tx:
        replies = tx.scalars(select(Message).where(Message.role == "assistant")).all()
        states = {str(turn.id): turn.state for turn in tx.scalars(select(Turn))}
    assert len(replies) == 1
    assert turns.reply(done) == "Once."
    assert states == {done: TurnState.DONE, forged: TurnState.RUNNING, old: TurnState.RUNNING}
