"""Taking in a prompt: everything that is checked and written for it is one statement, one round trip, one write to disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import text

from app.core.config import settings
from app.core.db import single
from app.core.models import new_id, now
from app.wire.errors import BadInput, PromptTooLong

# The message is written from the turn's row: where the same prompt came in on another socket a moment before, the turn
# is not made, and then neither is the message. Whoever stands twice in `known` was answered before.
_KEEP: Final = text("""
with owner as (
  select s.id, s.node, s.title, u.role from sessions s join users u on u.id = s.user_id
  where s.id = :session and s.user_id = :user and s.closed_at is null
), known as (
  select id from turns where session_id = :session and client_id = :client
), above as (
  select id from messages where id = :parent and session_id = :session
), queued as (
  select count(*) as number from turns where user_id = :user and state = 'queued'
), fine as (
  select owner.id from owner, queued where not exists (select from known)
    and (cast(:parent as uuid) is null or exists (select from above)) and queued.number < cast(cast(:most as jsonb) ->> owner.role as int)
), turn as (
  insert into turns (id, session_id, user_id, client_id, prompt_id, door, state, attempt, stopped, left_out, sampling, form,
                     wanted_model, created_at)
  select :turn, id, :user, :client, :message, :door, 'queued', 0, false, 0, cast(:sampling as jsonb), :form, :model, :now
  from fine on conflict do nothing returning id
), message as (
  insert into messages (id, session_id, parent_id, role, body, created_at)
  select :message, :session, cast(:parent as uuid), 'user', :body, :now from turn
), touched as (
  update sessions set updated_at = :now, title = coalesce(title, :title) where id in (select :session from turn)
)
select (select node from owner) as node, (select title from owner) as title, (select role from owner) as role,
       exists (select from owner) as mine, exists (select from known) as known,
       (cast(:parent as uuid) is null or exists (select from above)) as placed,
       (select number from queued) as queued, exists (select from turn) as kept
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
    """As it was before."""
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


def keep(prompt: Prompt) -> Kept:
    """Write a prompt and its turn, unless something speaks against it; twice is once."""
    turn, message = new_id(), new_id()
    words = {
        "turn": turn,
        "message": message,
        "user": prompt.user,
        "session": prompt.session,
        "client": prompt.client,
        "parent": prompt.parent,
        "door": prompt.door,
        "body": prompt.body,
        "title": prompt.title,
        "sampling": orjson.dumps(dict(prompt.sampling)).decode(),
        "form": prompt.form,
        "model": prompt.model,
        "most": orjson.dumps(dict(prompt.most)).decode(),
        "now": now(),
    }
    [row] = single(_KEEP, words)
    return Kept(turn, message, row.role, row.node, row.title and bytes(row.title), row.mine, row.known, row.placed, row.queued, row.kept)


def client_id(value: str) -> UUID:
    """Read the id that a prompt's sender gave it; raise BadInput where it is none."""
    try:
        return UUID(value)
    except (ValueError, AttributeError) as error:
        raise BadInput("A prompt needs an id: a UUID of your own making, the same one if you send it again.") from error
