"""Taking in prompts: all that is checked and written for those that came together is one statement and one write to disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from app.core.config import settings
from app.core.db import single
from app.core.models import User, new_id, now
from app.core.prepared import Statement
from app.services.sessions import NOT_HERE
from app.wire.errors import BadInput, NotFound, PromptTooLong

# The message is written from the turn's row: where the same prompt came in on another socket a moment before, the turn
# is not made, and then neither is the message. Who is in `known` was answered before. However many prompts came at
# the same time, each stands for itself: one that is refused changes nothing for the others. Rows are locked in one order,
# so that two of these at once never wait for each other. Who is shut out in this moment is held by that act and looked at
# again after it: their prompt is refused, or was there to be stopped.
_KEEP: Final = Statement("""
with asked as (
  select * from unnest(
    cast(:turn as uuid[]), cast(:message as uuid[]), cast(:person as uuid[]), cast(:session as uuid[]), cast(:client as uuid[]),
    cast(:parent as uuid[]), cast(:door as text[]), cast(:body as bytea[]), cast(:title as bytea[]), cast(:sampling as jsonb[]),
    cast(:form as bytea[]), cast(:model as text[]), cast(:most as jsonb[])
  ) with ordinality as given(turn, message, person, session, client, parent, door, body, title, sampling, form, model, most, nth)
), welcome as (
  select id, role from users where id in (select person from asked) and disabled_at is null order by id for key share
), owner as (
  select a.nth, s.node, s.title, u.role
  from asked a join sessions s on s.id = a.session and s.user_id = a.person and s.closed_at is null join welcome u on u.id = s.user_id
), known as (
  select a.nth from asked a join turns t on t.session_id = a.session and t.client_id = a.client
), placed as (
  select a.nth from asked a where a.parent is null or exists (select from messages m where m.id = a.parent and m.session_id = a.session)
), queued as (
  select p.person, (select count(*) from turns t where t.user_id = p.person and t.state = 'queued') as number
  from (select distinct person from asked) p
), fit as (
  select a.*, o.role, q.number + row_number() over (partition by a.person order by a.nth) as place
  from asked a join owner o using (nth) join placed using (nth) join queued q using (person)
  where a.nth not in (select nth from known)
), fine as (
  select * from fit where place <= cast(most ->> role as int)
), made as (
  insert into turns (id, session_id, user_id, client_id, prompt_id, door, state, attempt, stopped, left_out, sampling, form,
                     wanted_model, created_at)
  select turn, session, person, client, message, door, 'queued', 0, false, 0, sampling, form, model, cast(:now as timestamptz)
  from fine order by nth on conflict do nothing returning id
), kept as (
  select fine.* from fine join made on made.id = fine.turn
), written as (
  insert into messages (id, session_id, parent_id, role, body, created_at)
  select message, session, parent, 'user', body, :now from kept
), held as (
  select s.id, (select title from kept where session = s.id order by nth limit 1) as title
  from sessions s where s.id in (select session from kept) order by s.id for no key update of s
), touched as (
  update sessions s set updated_at = :now, title = coalesce(s.title, held.title) from held where s.id = held.id
)
select a.nth, o.node, coalesce(o.title, h.title) as title, o.role, o.nth is not null as mine, a.nth in (select nth from known) as known,
       a.nth in (select nth from placed) as placed, q.number as queued, a.turn in (select turn from kept) as kept
from asked a join queued q using (person) left join owner o using (nth) left join held h on h.id = a.session order by a.nth
""")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as it is written."""

    user: UUID
    session: UUID
    client: UUID
    parent: UUID | None
    door: str
    body: bytes
    """Sealed."""
    title: bytes
    """Sealed; for a session that has none yet."""
    sampling: Mapping[str, Any]
    form: bytes | None
    """Sealed: what was asked for in words."""
    model: str | None
    most: Mapping[str, int]
    """Turns that its person may have waiting, by the role that they may have."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of it: `kept`, or what spoke against it."""

    turn: UUID
    message: UUID
    role: str
    node: str | None
    """The one that answered in this session last."""
    title: bytes | None
    """As it is now, where the prompt was kept."""
    mine: bool
    known: bool
    placed: bool
    queued: int
    kept: bool


def clean(words: str) -> str:
    """Return a prompt as it can be kept: without NUL and lone surrogates; raise BadInput where nothing is left."""
    words = words.replace("\0", "").encode("utf-8", "replace").decode()
    if not words.strip():
        raise BadInput("The prompt is empty. Write something first.")
    if len(words) > settings().prompt_limit:
        raise PromptTooLong(len(words), settings().prompt_limit)
    return words


def keep(prompts: Sequence[Prompt]) -> list[Kept | NotFound]:
    """Write prompts and their turns in one step, each unless something speaks against it; the same one twice is once."""
    if not prompts:
        return []
    try:
        return list(_keep(prompts))
    except IntegrityError:
        # A session was deleted in this very moment, with all that refers to it.
        if len(prompts) == 1:
            return [NotFound(NOT_HERE)]
        return [found for one in prompts for found in keep([one])]


def _keep(prompts: Sequence[Prompt]) -> list[Kept]:
    made = [(new_id(), new_id()) for _ in prompts]
    words = {
        "turn": [str(turn) for turn, _ in made],
        "message": [str(message) for _, message in made],
        "person": [str(one.user) for one in prompts],
        "session": [str(one.session) for one in prompts],
        "client": [str(one.client) for one in prompts],
        "parent": [one.parent and str(one.parent) for one in prompts],
        "door": [one.door for one in prompts],
        "body": [one.body for one in prompts],
        "title": [one.title for one in prompts],
        "sampling": [orjson.dumps(dict(one.sampling)).decode() for one in prompts],
        "form": [one.form for one in prompts],
        "model": [one.model for one in prompts],
        "most": [orjson.dumps(dict(one.most)).decode() for one in prompts],
        "now": now(),
    }
    return [
        Kept(turn, message, row.role, row.node, row.title and bytes(row.title), row.mine, row.known, row.placed, row.queued, row.kept)
        for (turn, message), row in zip(made, single(_KEEP, words), strict=True)
    ]


def welcome(tx: Transaction, user: UUID) -> User:
    """Return whose prompt it is, held until the commit; raise NotFound where they were shut out a moment ago."""
    query = select(User).where(User.id == user, User.disabled_at.is_(None)).with_for_update(read=True, key_share=True)
    if (found := tx.scalar(query)) is None:
        raise NotFound(NOT_HERE)
    return found


def client_id(value: str) -> UUID:
    """Read the id that a prompt's sender gave it; raise BadInput where it is none."""
    try:
        return UUID(value)
    except (ValueError, AttributeError) as error:
        raise BadInput("A prompt needs an id: a UUID of your own making, the same one if you send it again.") from error
