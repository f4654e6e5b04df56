"""Taking in a prompt at any door: counted against the limits of whoever asks, then kept as a turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.services import intake, limits, turns, underway
from app.services.person import Person
from app.services.turns import Accepted
from app.wire.errors import Busy, MeatLizardError
from app.wire.states import Door


@dataclass(frozen=True, slots=True)
class Asking:
    """A prompt, and who sends it from where."""

    who: Person
    session: str
    client_id: str
    words: str
    parent: str | None
    door: Door
    sampling: Mapping[str, Any] = field(default_factory=dict)
    address: str = ""
    model: str | None = None


def submit(
    who: Person,
    session: str,
    client_id: str,
    words: str,
    parent: str | None,
    door: Door,
    sampling: Mapping[str, Any] | None = None,
    address: str = "",
    model: str | None = None,
) -> Accepted:
    """Keep a prompt and let its turn wait, for a node with that `model` where one is named.

    Raises TooOften where a limit of theirs is reached, BadInput where no node has the model.
    """
    [answer] = submit_all([Asking(who, session, client_id, words, parent, door, sampling or {}, address, model)])
    if isinstance(answer, MeatLizardError):
        raise answer
    return answer


def submit_all(many: Sequence[Asking]) -> list[Accepted | MeatLizardError]:
    """Do so with prompts that came together; what is wrong with one is its own answer, and changes nothing for the others."""
    refused: dict[int, Accepted | MeatLizardError] = {}
    asked: dict[int, turns.Prompted] = {}
    counted: set[int] = set()
    for at, one in enumerate(many):
        try:
            words, who = intake.clean(one.words), one.who
            client_id = str(intake.client_id(one.client_id))
            limits.admit(who, one.address)
            if underway.begin(who, one.address, one.session, client_id):
                counted.add(at)
        except MeatLizardError as error:
            refused[at] = _known(one.who, one.session, one.client_id, error) or error
        else:
            asked[at] = turns.Prompted(
                who.id, one.session, client_id, words, one.parent, one.door, one.sampling, one.model, not who.unlimited
            )
    answers: dict[int, Accepted | MeatLizardError] = {}
    try:
        answers = dict(zip(asked, turns.submit_all(list(asked.values())), strict=True))
    finally:
        for at in counted:
            if not _made(answers.get(at)):
                underway.give_back(asked[at].session, asked[at].client_id)
    return [answers[at] if at in answers else refused[at] for at in range(len(many))]


def retry(who: Person, session: str, client_id: str, turn: str, door: Door, address: str = "") -> Accepted:
    """Answer the prompt of an earlier turn once more; that counts as a prompt."""
    client_id = str(intake.client_id(client_id))
    try:
        limits.admit(who, address)
    except MeatLizardError as error:
        if kept := _known(who, session, client_id, error):
            return kept
        raise
    counted, answer = underway.begin(who, address, session, client_id), None
    try:
        answer = turns.retry(who.id, session, client_id, turn, door, limited=not who.unlimited)
        return answer
    finally:
        if counted and not _made(answer):
            underway.give_back(session, client_id)


def _made(answer: Accepted | MeatLizardError | None) -> bool:
    """Say whether a try made a turn, which is counted until that ends."""
    return isinstance(answer, Accepted) and not answer.again


def _known(who: Person, session: str, client_id: str, error: MeatLizardError) -> Accepted | None:
    """Return the turn of a prompt that was kept when it came first: the answer was lost, and nothing is asked of a limit."""
    if not isinstance(error, Busy):
        return None
    try:
        return turns.known(who.id, session, client_id)
    except MeatLizardError:
        return None
