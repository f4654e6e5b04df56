"""How attempts ended: written down for all that came together in one step, then told, and their slots given on."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy.orm import Session as Transaction

from app.core import clock, keys
from app.core.broker import ask_relay
from app.core.db import single, transaction
from app.core.models import Message, Turn, new_id, now
from app.core.prepared import Statement
from app.services import dispatch, estimate, events, metrics, queue, sessions, spending, tally, underway
from app.wire import hops, names
from app.wire.jobs import Outcome
from app.wire.states import Door, EventKind, Lane, TurnState

log = structlog.get_logger(__name__)

LOST_REASON: Final = "Three attempts were made and each was cut off before its end. Press Retry, or ask for the node to be looked at."

# Only what still runs, and under this very attempt, is ended; rows are locked in one order, so that two of these at once
# never wait for each other. What a person stopped has not failed.
_END: Final = Statement("""
with given as (
  select * from unnest(
    cast(:turn as uuid[]), cast(:attempt as int[]), cast(:state as text[]), cast(:reply as uuid[]), cast(:body as bytea[]),
    cast(:reason as bytea[]), cast(:model as text[]), cast(:left_out as int[]), cast(:hops as jsonb[]), cast(:prompt_tokens as int[]),
    cast(:completion_tokens as int[]), cast(:tokens_per_second as float8[]), cast(:finish_reason as text[])
  ) as given(turn, attempt, state, reply, body, reason, model, left_out, hops, prompt_tokens, completion_tokens,
             tokens_per_second, finish_reason)
), open as (
  select t.id, t.session_id, t.prompt_id, t.node, g.*,
         case when g.state = 'failed' and t.stopped then 'cancelled' else g.state end as final
  from turns t join given g on g.turn = t.id and g.attempt = t.attempt
  where t.state in ('queued', 'running') order by t.id for no key update of t
), replied as (
  insert into messages (id, session_id, parent_id, role, body, created_at)
  select reply, session_id, prompt_id, 'assistant', body, cast(:now as timestamptz) from open where reply is not null
), held as (
  select s.id, (select node from open where session_id = s.id order by open.id desc limit 1) as node
  from sessions s where s.id in (select session_id from open) order by s.id for no key update of s
), touched as (
  update sessions s set updated_at = :now, node = held.node from held where s.id = held.id
)
update turns t set
  state = o.final, finished_at = :now, reply_id = o.reply, reason = case when o.final = 'failed' then o.reason end, model = o.model,
  left_out = o.left_out, hops = coalesce(t.hops, '{}') || o.hops, prompt_tokens = o.prompt_tokens,
  completion_tokens = o.completion_tokens, tokens_per_second = o.tokens_per_second, finish_reason = o.finish_reason
from open o where t.id = o.id returning t.*
""")


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt and how it ended."""

    turn: str
    session: str
    attempt: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Told:
    """What has to be told of a turn that has ended."""

    row: Any
    """A `Turn`, or a row with all its columns."""
    outcome: Outcome
    facts: dict[str, Any]
    counted: bool


def end_all(ended: Sequence[Ended]) -> list[bool]:
    """Write how turns ended, then tell it, free their slots, and give them to the next ones.

    Says of each whether it counted; all of it may be done twice.
    """
    if not ended:
        return []
    once = {(one.turn, one.attempt): one for one in reversed(ended)}  # Of two the first.
    rows = {(str(row.id), row.attempt): row for row in single(_END, _words(list(once.values())))}
    told = []
    for key, one in once.items():
        if row := rows.get(key):
            told.append(_Told(row, one.outcome, _facts(row, one.outcome.text), True))
        elif old := _again(one):
            # The try before may have been killed before it came to what follows.
            told.append(old)
    _tell(told)
    return [(one.turn, one.attempt) in rows for one in ended]


def _words(ended: Sequence[Ended]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = defaultdict(list)
    for one in ended:
        outcome, ring = one.outcome, keys.rest(one.session)
        columns["turn"].append(one.turn)
        columns["attempt"].append(one.attempt)
        columns["reply"].append(str(new_id()) if outcome.text else None)
        columns["body"].append(ring.seal(outcome.text.encode()) if outcome.text else None)
        failed = outcome.state == TurnState.FAILED
        columns["reason"].append(ring.seal((outcome.reason or LOST_REASON).encode()) if failed else None)
        columns["hops"].append(orjson.dumps({**outcome.hops, hops.ENDED: clock.now_ms()}).decode())
        for name in ("state", "model", "left_out", "prompt_tokens", "completion_tokens", "tokens_per_second", "finish_reason"):
            columns[name].append(getattr(outcome, name))
    return columns | {"now": now()}


def _again(one: Ended) -> _Told | None:
    with transaction() as tx:
        row = tx.get(Turn, UUID(one.turn))
        if row is None or row.attempt != one.attempt or not TurnState(row.state).final:
            return None
        return _Told(row, one.outcome, facts(tx, row), False)


def facts(tx: Transaction, row: Turn) -> dict[str, Any]:
    """Return what the last event of a turn tells, as far as PostgreSQL knows it."""
    kept = tx.get_one(Message, row.reply_id) if row.reply_id else None
    return _facts(row, keys.rest(str(row.session_id)).open(kept.body).decode() if kept else "")


def _facts(row: Any, reply: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "message": str(row.reply_id) if row.reply_id else None,
        "parent": str(row.prompt_id),
        "lane": row.lane,
    }
    if row.state == TurnState.FAILED:
        found |= {"reason": sessions.reason(row), "retry": True, "finish_reason": row.finish_reason}
    if row.reply_id:
        found |= sessions.reply_facts(row) | {"at": len(reply.encode())}
    # The event carries these itself.
    for name in ("turn", "attempt", "state"):
        found.pop(name, None)
    return found


def _tell(told: Sequence[_Told]) -> None:
    if not told:
        return
    events.close_all(
        [(str(one.row.session_id), str(one.row.id), one.row.attempt, EventKind(one.row.state), one.facts) for one in told]
    )
    used: dict[str, int] = defaultdict(int)
    for one in told:
        if one.counted:
            used[str(one.row.user_id)] += one.outcome.prompt_tokens + one.outcome.completion_tokens
    # Before the slots: whoever gives them to the next turn must know what this one took.
    for user, tokens in used.items():
        spending.count(user, tokens)
    queue.release_all([(str(one.row.id), one.row.attempt, one.row.node) for one in told])
    metrics.put_all("turn", [tally.of(one.row, one.outcome) for one in told])
    took: dict[str, list[float]] = defaultdict(list)
    for one in told:
        row = one.row
        log.info(
            "turn.ended", turn=str(row.id), session=str(row.session_id), attempt=row.attempt, node=row.node, lane=row.lane, state=row.state
        )
        tokens = one.outcome.prompt_tokens + one.outcome.completion_tokens
        underway.end(str(row.session_id), str(row.client_id), tokens)  # Once, by itself, whichever try comes to it.
        if not one.counted:
            continue
        if row.state == TurnState.DONE and row.node and row.leased_at:
            # As long as nobody else could have the slot: what ending takes is waited for as well.
            took[row.node].append((now() - row.leased_at).total_seconds() * 1000)
    for node, durations in took.items():
        estimate.remember(node, *durations)
    dispatch.dispatch()
    # Behind those who wait for a slot.
    for one in told:
        # What programs ask has no channel in Discord: a guild has room for 500, and they keep their own record. Asked for
        # again where the try before may have been killed: a mirror is posted once, however often it is asked for.
        if one.row.lane != Lane.DISCORD and one.row.door != Door.API:
            ask_relay(names.POST_MIRROR, str(one.row.id), expires=names.MIRROR_GOOD_SECONDS)
