"""Turns that wait or run at once, counted for their person, token and address; and what they took, for the latter two."""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import orjson
import structlog

from app.core import keys, redis
from app.core.models import Turn
from app.services import limits, spending
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

TRIES: Final = "tries"
AT_ONCE: Final = "turns|"
A_DAY: Final = "tokens|"
"""What is noted of a turn: how many tries counted it, whose turns at once it is among, and whose tokens it spends."""

_GIVE_BACK: Final = """
-- KEYS: counted   Takes one try back; answers what was noted where it was the last one.
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HINCRBY', KEYS[1], 'tries', -1) > 0 then return {} end
local noted = redis.call('HKEYS', KEYS[1])
redis.call('DEL', KEYS[1])
return noted
"""


@cache
def _give_back() -> Any:
    return redis.client().register_script(_GIVE_BACK)


def begin(who: Person, address: str, session: str, client: str) -> bool:
    """Count a turn in and say whether there was a limit to count for; the same one twice counts once.

    Raises Busy or TooOften where a limit is reached. Whoever counted one that came to nothing has to `give_back`.

    Only what has a limit is counted, from the moment it has one: everybody else's prompts wait for nothing here.
    """
    if who.unlimited:
        return False
    mark = f"{session}:{client}"
    others = [f"token:{who.token}"] if who.token else []
    others += [f"address:{found}"] if (found := place(address)) else []
    taken: list[str] = []
    daily_of: list[str] = []
    try:
        for whose in (f"user:{who.id}", *others):
            known = limits.scopes(who) if whose.startswith("user:") else (_scope(whose),)
            most = limits.of(Kind.TURNS, *known)
            if most is not None:
                if not limits.room(names.turns_at_once(whose), mark, most, TURN_SECONDS):
                    _turn_away(session, client, taken)
                    raise Busy(f"{most} turns at once are the limit, waiting ones included. Wait for one to end, or stop it.")
                taken.append(whose)
            daily = limits.of(Kind.TOKENS, *known) if whose in others else None
            if daily is not None:
                if int(redis.client().get(spending.key(whose)) or 0) >= daily:
                    _turn_away(session, client, taken)
                    raise spending.spent(f"The tokens of this {_scope(whose).partition(':')[0]} are used up for today: {daily:,}")
                daily_of.append(whose)
        if not taken and not daily_of:
            return False
        key = names.counted_for(session, client)
        with redis.client().pipeline(transaction=True) as pipe:
            # Beside what an earlier try noted: by another token, or without one, it still is that one's as well.
            pipe.hset(key, mapping=dict.fromkeys([AT_ONCE + one for one in taken] + [A_DAY + one for one in daily_of], 1))
            pipe.hincrby(key, TRIES, 1)
            pipe.expire(key, DAY_SECONDS)
            pipe.execute()
        return True
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))
        return False


def give_back(session: str, client: str) -> None:
    """Take back a try that made no turn: it came to nothing, or its prompt was kept when it came first.

    The turn that another try with the same id made, or makes in this moment, stays counted.
    """
    try:
        _leave(session, client, _give_back()(keys=[names.counted_for(session, client)]))
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))


def leave(session: str, client: str) -> None:
    """Count out a turn that somebody stops: how soon its node hears of it is not theirs to wait for."""
    try:
        _leave(session, client, redis.client().hkeys(names.counted_for(session, client)))
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))


def end(session: str, client: str, tokens: int = 0) -> None:
    """Count a turn out, and what it took; where it was not counted nothing happens."""
    try:
        with redis.client().pipeline(transaction=True) as pipe:
            pipe.hkeys(names.counted_for(session, client))
            pipe.delete(names.counted_for(session, client))
            noted, _ = pipe.execute()
        _leave(session, client, noted)
        with redis.client().pipeline(transaction=False) as pipe:
            for whose in _whose(noted, A_DAY):
                pipe.incrby(spending.key(whose), tokens)
                pipe.expire(spending.key(whose), spending.DAYS_KEPT * DAY_SECONDS)
            pipe.execute()
    except redis.ERRORS as error:
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
            spending.count(user, tokens)
            end(session, client, tokens)
    except (*redis.ERRORS, EnvelopeError, ValueError, TypeError) as error:
        log.warning("turn.not_counted", turn=one.turn, error=type(error).__name__)


def _turn_away(session: str, client: str, taken: list[str]) -> None:
    """Count nothing for a try that is refused, unless its turn is under way already: sent again, it stays counted."""
    if not redis.client().exists(names.counted_for(session, client)):
        for whose in taken:
            redis.client().zrem(names.turns_at_once(whose), f"{session}:{client}")


def _leave(session: str, client: str, noted: Iterable[bytes]) -> None:
    for whose in _whose(noted, AT_ONCE):
        redis.client().zrem(names.turns_at_once(whose), f"{session}:{client}")


def _whose(noted: Iterable[bytes], what: str) -> list[str]:
    return [one.decode(errors="replace").removeprefix(what) for one in noted if one.startswith(what.encode())]


def _scope(whose: str) -> str:
    return ADDRESS if whose.startswith("address:") else whose
