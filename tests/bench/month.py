"""A month of made-up traffic as rows: figures, samples, conversations with sealed words, turns, archive, audit trail."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from app.core import keys
from app.core.db import engine, transaction
from app.core.models import AuditRecord, User, new_id, now
from app.services import audit, partitions
from app.wire.states import Door

DAYS: Final = 30
PEOPLE: Final = 500
AT_ONCE: Final = 2000
TRAIL: Final = 20_000
"""Records of the audit trail: people come and go, tokens are made, limits change."""
METRICS: Final = """
insert into metrics (turn_id, attempt, at, user_id, outcome, door, lane, node, model, queue_ms, first_token_ms, prompt_ms,
  total_ms, prompt_tokens, completion_tokens, tokens_per_second)
select gen_random_uuid(), 1, cast(:day as timestamptz) + random() * interval '1 day',
  (array(select id from users where name like 'load-%'))[1 + floor(power(random(), 2) * :people)::int],
  (array['done','done','done','done','done','done','done','failed','cancelled'])[1 + floor(random() * 9)::int],
  (array['web','web','web','api','discord'])[1 + floor(random() * 5)::int],
  (array['queue','queue','discord'])[1 + floor(random() * 3)::int], 'node-' || (1 + floor(random() * 4))::int,
  (array['small','large'])[1 + floor(random() * 2)::int], -800 * ln(1 - random()), 80 - 400 * ln(1 - random()),
  60 - 300 * ln(1 - random()), 2000 - 9000 * ln(1 - random()), (20 + random() * 2000)::int, (5 + random() * 900)::int,
  15 + random() * 60
from generate_series(1, :count)
"""
SAMPLES: Final = """
insert into samples (kind, subject, at, value)
select kind, 'node-' || node, moment, 40 + random() * 40 from generate_series(1, 4) node,
  unnest(array['node.memory','node.heat','node.speed','node.busy']) kind,
  generate_series(cast(:day as timestamptz), cast(:day as timestamptz) + interval '1 day' - interval '30 s', interval '30 s') moment
on conflict do nothing
"""
SESSION: Final = (
    "insert into sessions (id, user_id, title, door, created_at, updated_at, closed_at) "
    "values (:session, :user, :title, :door, :at, :at, :closed)"
)
MESSAGE: Final = (
    "insert into messages (id, session_id, parent_id, role, body, created_at) values (:id, :session, :parent, :role, :body, :at)"
)
TURN: Final = (
    "insert into turns (id, session_id, user_id, client_id, prompt_id, reply_id, door, state, attempt, stopped, node, lane, model, "
    "sampling, left_out, prompt_tokens, completion_tokens, tokens_per_second, hops, created_at, leased_at, finished_at) values "
    "(:turn, :session, :user, :turn, :prompt, :reply, :door, 'done', 1, false, 'node-1', 'queue', 'small', '{}', 0, 40, 200, 50, "
    "cast(:hops as jsonb), :at, :at, :finished)"
)
STORED: Final = """
insert into transcripts (session_id, state, why, key, sha256, size, messages, covers, tries, asked_at, stored_at)
select id, 'stored', 'idle', 'transcripts/' || id || '/load.sealed', repeat('0', 64), 1000, 2, updated_at + interval '1 minute', 0,
  updated_at, updated_at from sessions where door <> 'api' and (closed_at is not null or updated_at < now() - interval '6 days')
on conflict do nothing
"""
FIGURES_OF_TURNS: Final = """
insert into metrics (turn_id, attempt, at, user_id, outcome, door, lane, node, model, queue_ms, total_ms, prompt_tokens,
  completion_tokens, tokens_per_second)
select id, attempt, finished_at, user_id, state, door, lane, node, model, 0, 5000, 40, 200, 50 from turns where node = 'node-1'
on conflict do nothing
"""


def timed(work: Callable[..., Any], *words: Any, **named: Any) -> tuple[float, Any]:
    """Return the seconds that a call took, and what it returned."""
    began = time.monotonic()
    found = work(*words, **named)
    return time.monotonic() - began, found


def load(turns: int, conversations: int) -> None:
    """Write all of it; figures a day in one statement, conversations with their words sealed as the platform does."""
    first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    days = [first + timedelta(days=count) for count in range(DAYS)]
    for table in partitions.TABLES:
        partitions.ensure(table, [day.date() for day in days])
    with transaction() as tx:
        people = [User(id=new_id(), name=f"load-{count}", password_hash=None, role="member") for count in range(PEOPLE)]
        tx.add_all(people)
    _trail(people)
    with engine().connect() as connection:
        connection.execute(text("set statement_timeout = 0"))
        for day in days:
            place = {"day": day, "count": turns // DAYS, "people": PEOPLE}
            took, _ = timed(connection.execute, text(METRICS), place)
            connection.execute(text(SAMPLES), place)
            connection.commit()
            print(f"  {day:%F}: {turns // DAYS:,} turns in {took:.1f} s", flush=True)
        took, _ = timed(_converse, connection, [person.id for person in people], first, conversations)
        print(f"  {conversations:,} conversations in {took:.1f} s", flush=True)
        for query in (STORED, FIGURES_OF_TURNS):
            connection.execute(text(query))
        mark = text(
            "insert into rollup_marks values ('metrics', :at), ('samples', :at) on conflict (name) do update set upto = excluded.upto"
        )
        connection.execute(mark, {"at": first})
        connection.commit()
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("analyze"))


def _trail(people: list[User]) -> None:
    with transaction() as tx:
        audit.record(tx, "load", Door.CLI, "load.begin")
        last = tx.get_one(AuditRecord, tx.execute(text("select max(id) from audit_log")).scalar_one())
        number, previous = last.id, last.hash
        for count in range(TRAIL):
            row = AuditRecord(
                id=(number := number + 1), at=now(), actor=people[count % PEOPLE].name, door="web", subject=f"subject-{count % 70}",
                action=("user.role", "token.new", "limits.set", "transcript.export")[count % 4], details={"count": count},
                previous=previous,
            )  # fmt: skip
            row.hash = previous = audit.digest(row)
            tx.add(row)


def _converse(connection: Connection, people: list[UUID], first: datetime, conversations: int) -> None:
    """Write conversations of a prompt and a reply each; one person has nine of ten, as the busiest list there could be."""
    owners = [people[0]] * 9 * len(people) + people
    span = datetime.now(UTC) - first
    for start in range(0, conversations, AT_ONCE):
        sessions, messages, turns = [], [], []
        for count in range(start, min(start + AT_ONCE, conversations)):
            session, prompt, reply, turn = new_id(), new_id(), new_id(), new_id()
            at, ring = first + span * count / conversations, keys.rest(str(session))
            # What programs sent is kept for a day.
            door = "api" if count % 2 and at > now() - timedelta(hours=20) else "web"
            place = {"session": session, "user": owners[count % len(owners)], "at": at, "door": door}
            title = ring.seal(f"Conversation {count} about {'marmalade' if count % 977 == 0 else 'the weather'}".encode())
            sessions.append(place | {"title": title, "closed": at if count % 5 == 1 else None})
            messages.append(place | {"id": prompt, "parent": None, "role": "user", "body": ring.seal(b"What is new? " * 10)})
            messages.append(place | {"id": reply, "parent": prompt, "role": "assistant", "body": ring.seal(b"Not much. " * 100)})
            hops = {name: at.timestamp() * 1000 + 10 * step for step, name in enumerate(("received", "kept", "leased", "first", "last"))}
            finished = at + timedelta(seconds=5)
            turns.append(
                place | {"turn": turn, "prompt": prompt, "reply": reply, "hops": orjson.dumps(hops).decode(), "finished": finished}
            )
        for query, rows in ((SESSION, sessions), (MESSAGE, messages), (TURN, turns)):
            connection.execute(text(query), rows)
        connection.commit()
