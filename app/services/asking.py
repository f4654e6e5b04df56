"""Taking in a prompt at any door: counted against the limits of whoever asks, then kept as a turn."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from app.services import intake, limits, turns, underway
from app.services.person import Person
from app.services.turns import Accepted
from app.wire.states import Door


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
    words = intake.clean(words)
    client_id = str(intake.client_id(client_id))
    limits.admit(who, address)
    with _counted(who, address, session, client_id):
        return turns.submit(
            who.id, session, client_id, words, parent, door, sampling, model=model, limited=not who.unlimited
        )


def retry(who: Person, session: str, client_id: str, turn: str, door: Door, address: str = "") -> Accepted:
    """Answer the prompt of an earlier turn once more; that counts as a prompt."""
    client_id = str(intake.client_id(client_id))
    limits.admit(who, address)
    with _counted(who, address, session, client_id):
        return turns.retry(who.id, session, client_id, turn, door, limited=not who.unlimited)


@contextmanager
def _counted(who: Person, address: str, session: str, client_id: str) -> Iterator[None]:
    """Count a turn that waits or runs, unless it comes to nothing."""
    underway.begin(who, address, session, client_id)
    try:
        yield
    except BaseException:
        underway.end(session, client_id)
        raise
