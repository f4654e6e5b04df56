"""Turns that wait or run at once, counted for their person, token and address; and what they took, for the latter two."""

from collections.abc import Iterable
from typing import Final

import orjson
import structlog

from app.core import keys, redis
from app.core.models import Turn, now
from app.services import limits
from app.services.limits import ADDRESS, Kind
from app.services.network import place
from app.services.person import Person
from app.wire import names
from app.wire.errors import Busy, EnvelopeError
from app.wire.inbox import Handed
from app.wire.jobs import Outcome

log = structlog.get_logger(__name__)

TURN_SECONDS: Final = 2 * 3600
"""How long a turn is counted whose end was never heard; longer than the longest."""
DAY_SECONDS: Final = 86_400


def begin(who: Person, address: str, session: str, client: str) -> None:
    """Count a turn in; the same one twice counts once. Raises Busy or TooOften where a limit is reached.

    Only what has a limit is counted, from the moment it has one: everybody else's prompts wait for nothing here.
    """
    if who.unlimited:
        return
    mark = f"{session}:{client}"
    others = [f"token:{who.token}"] if who.token else []
    others += [f"address:{found}"] if (found := place(address)) else []
    taken: list[str] = []
    spending: list[str] = []
    try:
        for whose in (f"user:{who.id}", *others):
            known = limits.scopes(who) if whose.startswith("user:") else (_scope(whose),)
            most = limits.of(Kind.TURNS, *known)
            if most is not None:
                if not limits.room(names.turns_at_once(whose), mark, most, TURN_SECONDS):
                    _leave(mark, taken)
                    raise Busy(f"{most} turns at once are the limit, waiting ones included. Wait for one to end, or stop it.")
                taken.append(whose)
            daily = limits.of(Kind.TOKENS, *known) if whose in others else None
            if daily is not None:
                if int(redis.client().get(_used(whose)) or 0) >= daily:
                    _leave(mark, taken)
                    raise limits.spent(f"The tokens of this {_scope(whose).partition(':')[0]} are used up for today: {daily:,}")
                spending.append(whose)
        if taken or spending:
            redis.client().set(names.counted_for(session, client), orjson.dumps([taken, spending]), ex=DAY_SECONDS)
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))


def leave(session: str, client: str) -> None:
    """Count out a turn that somebody stops: how soon its node hears of it is not theirs to wait for."""
    try:
        if found := redis.client().get(names.counted_for(session, client)):
            _leave(f"{session}:{client}", orjson.loads(found)[0])
    except (*redis.ERRORS, ValueError, TypeError) as error:
        log.warning("limits.off", error=str(error))


def end(session: str, client: str, tokens: int = 0) -> None:
    """Count a turn out, and what it took; where it was not counted nothing happens."""
    try:
        found = redis.client().getdel(names.counted_for(session, client))
        if not found:
            return
        taken, spending = orjson.loads(found)
        _leave(f"{session}:{client}", taken)
        with redis.client().pipeline(transaction=False) as pipe:
            for whose in spending:
                pipe.incrby(_used(whose), tokens)
                pipe.expire(_used(whose), limits.DAYS_KEPT * DAY_SECONDS)
            pipe.execute()
    except (*redis.ERRORS, ValueError, TypeError) as error:
        log.warning("limits.off", error=str(error))


def leave_behind(running: Iterable[Turn]) -> None:
    """Note whose the turns are that are deleted while a node writes them: it brings its figures when it has heard.

    Called before they are gone for others to see: figures that come in the same moment would find no note else.
    """
    try:
        with redis.client().pipeline(transaction=False) as pipe:
            for row in running:
                whose = [str(row.user_id), str(row.session_id), str(row.client_id), row.attempt, row.node]
                pipe.set(names.left_behind(str(row.id)), orjson.dumps(whose), ex=names.STREAM_TTL_SECONDS)
            pipe.execute()
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))


def settle(one: Handed) -> None:
    """Count what a turn took whose row is gone, once; nothing happens where it is nobody's, or the outcome is not its own."""
    try:
        key = names.left_behind(one.turn)
        if not (found := redis.client().get(key)):
            return
        user, session, client, attempt, node = orjson.loads(found)
        if (attempt, node) != (one.attempt, one.node):
            return
        outcome = Outcome.open(one.envelope, keys.node(node), session, one.turn, attempt)
        if redis.client().delete(key):
            tokens = outcome.prompt_tokens + outcome.completion_tokens
            limits.count_tokens(user, tokens)
            end(session, client, tokens)
    except (*redis.ERRORS, EnvelopeError, ValueError, TypeError) as error:
        log.warning("turn.not_counted", turn=one.turn, error=type(error).__name__)


def _leave(mark: str, taken: list[str]) -> None:
    for whose in taken:
        redis.client().zrem(names.turns_at_once(whose), mark)


def _scope(whose: str) -> str:
    return ADDRESS if whose.startswith("address:") else whose


def _used(whose: str) -> str:
    return names.tokens_used(whose, f"{now():%Y%m%d}")
