"""The list of a person's conversations: a page at a time from the latest back, and the search in their titles."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import select, tuple_

from app.core.db import transaction
from app.core.models import Session
from app.services import place, sessions
from app.services.sessions import Summary
from app.wire.states import Door

PAGE: Final = 100
"""Conversations shown at once."""
LOOKED_AT: Final = 1000
"""Titles that one search opens, about a tenth of a second: each is sealed, and no index knows its words."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a list, and where it goes on."""

    sessions: list[Summary]
    next: str | None
    """What to ask for with `before`; None where nothing is older."""


def page(user: str, before: str = "", words: str = "") -> Page:
    """Return a person's conversations older than `before`, those whose title holds all of the words, the latest first.

    Not what their programs keep themselves. A search may find fewer than there are, or none, and have a `next` all the
    same: it goes on there. Raise BadInput where `before` is not the `next` of another page.
    """
    wanted = words.casefold().split()
    most = LOOKED_AT if wanted else PAGE
    query = (
        select(Session.id, Session.title, Session.updated_at)
        .where(Session.user_id == UUID(user), Session.closed_at.is_(None), Session.door != Door.API.value)
        .order_by(Session.updated_at.desc(), Session.id.desc())
        .limit(most)
    )
    if before:
        query = query.where(tuple_(Session.updated_at, Session.id) < tuple_(*place.read(before)))
    with transaction() as tx:
        rows = tx.execute(query).all()
    found: list[Summary] = []
    last = None
    for last in rows:
        title = sessions.title(last)
        if all(word in title.casefold() for word in wanted):
            found.append(Summary(str(last.id), title, last.updated_at))
        if len(found) == PAGE:
            break
    if last is None or (len(rows) < most and last is rows[-1]):
        return Page(found, None)
    return Page(found, place.told(last.updated_at, last.id))
