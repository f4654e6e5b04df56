"""How much may be used: prompts a minute, turns at once, tokens a day, pages, tries; per role, user, token and address; changed live."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from app.core import redis
from app.core.config import settings
from app.core.db import single, transaction
from app.core.models import ApiToken, Limit, User, now
from app.core.prepared import Statement
from app.services import audit, spending
from app.services.network import place as place_of
from app.services.person import NOBODY_YET, Person
from app.services.rights import Rank
from app.wire import names
from app.wire.errors import BadInput, Busy, NotFound, TooOften
from app.wire.states import Door

log = structlog.get_logger(__name__)


class Kind(StrEnum):
    """What is counted."""

    PROMPTS = "prompts"
    """Prompts a minute, in any sixty seconds; a retry is one too."""
    TOKENS = "tokens"
    """Tokens a day (UTC's), read and written."""
    TURNS = "turns"
    """Turns that wait or run at once."""
    SOCKETS = "sockets"
    """Chat pages open at once."""
    TRIES = "tries"
    """Tries to sign in, in any five minutes."""


ADDRESS: Final = "address"
NAME: Final = "name"
"""The name that somebody tries to sign in with, whether or not there is an account of that name."""
DEFAULTS: Final[dict[str, dict[Kind, int | None]]] = {
    "role:owner": {Kind.PROMPTS: 120, Kind.TOKENS: None, Kind.TURNS: None, Kind.SOCKETS: 100},
    "role:admin": {Kind.PROMPTS: 120, Kind.TOKENS: None, Kind.TURNS: None, Kind.SOCKETS: 100},
    "role:member": {Kind.PROMPTS: 60, Kind.TOKENS: None, Kind.TURNS: None, Kind.SOCKETS: 50},
    "role:guest": {Kind.PROMPTS: 30, Kind.TOKENS: 500_000, Kind.TURNS: 20, Kind.SOCKETS: 20},
    # One household or office behind one router; the machine itself is not counted, but for tries to sign in.
    ADDRESS: {Kind.PROMPTS: 240, Kind.TOKENS: None, Kind.TURNS: None, Kind.SOCKETS: 200, Kind.TRIES: 30},
    # Far fewer than guessing takes, more than forgetting does.
    NAME: {Kind.TRIES: 10},
}
"""Enough for people, too little to harm others; the queue is fair whatever these say."""
LARGEST: Final = 10**12
SHOWN: Final = (Kind.PROMPTS, Kind.TOKENS, Kind.TURNS, Kind.SOCKETS)  # What somebody has left of; tries to sign in are for those who are not signed in.
FRESH_SECONDS: Final = 2.0  # How long a process may go on with a limit that was changed meanwhile.
SESSIONS: Final = RateLimitItemPerMinute(120, 10)  # New sessions of one person in ten minutes.
GUESTS: Final = RateLimitItemPerMinute(300, 10)  # New guests in ten minutes: a browser is one for as long as its login lasts.
SOCKET_SECONDS: Final = 30  # A page that was not heard of for so long is not counted any more: its process was killed.
_ALL: Final = Statement("select scope, kind, value from limits")

_OPEN: Final = """
-- KEYS: set   ARGV: page, most (-1: any number), seconds
-- Counts a page in, or keeps it counted, and forgets those that were not heard of.
local time = redis.call('TIME')
local now = tonumber(time[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not known and tonumber(ARGV[2]) >= 0 and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[3]) * 2)
return 1
"""


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of one limit."""

    kind: str
    left: int | None
    """None: without limit."""
    of: int | None
    resets_at: datetime | None
    """When there is more; None where that has no time."""


@cache
def _limiter() -> MovingWindowRateLimiter:
    url = settings().redis_url.get_secret_value()
    return MovingWindowRateLimiter(
        RedisStorage(url, connection_pool=redis.client().connection_pool, key_prefix=names.LIMITS)
    )


@cache
def _open() -> Any:
    return redis.client().register_script(_OPEN)


@dataclass(slots=True)
class _Set:
    """The table as it was read last."""

    rows: dict[tuple[str, str], int | None]
    at: float


@cache
def _set() -> _Set:
    return _Set({}, -FRESH_SECONDS)


def _overrides() -> dict[tuple[str, str], int | None]:
    kept = _set()
    if time.monotonic() - kept.at > FRESH_SECONDS:
        kept.rows = {(row.scope, row.kind): row.value for row in single(_ALL, {})}
        kept.at = time.monotonic()
    return kept.rows


def of(kind: Kind, *scopes: str) -> int | None:
    """Return the limit of the first of these scopes that has one; None where there is none."""
    rows = _overrides()
    for scope in scopes:
        if (scope, kind.value) in rows:
            return rows[scope, kind.value]
    return next((DEFAULTS[scope].get(kind) for scope in scopes if scope in DEFAULTS), None)


def admit(who: Person, address: str = "", *, look: bool = False) -> None:
    """Count a prompt, or only `look` whether there is room for one; raise TooOften, saying until when, where there is none.

    Where Redis is away nothing is counted, and nobody is kept out.
    """
    if who.unlimited:
        return
    try:
        for item, whose, what in _prompt_items(who, address):
            if not (_limiter().test if look else _limiter().hit)(item, whose):
                reset = _limiter().get_window_stats(item, whose).reset_time
                raise TooOften(f"{what}: {item.amount} prompts a minute", max(1, round(reset - time.time())))
        most = of(Kind.TOKENS, *scopes(who))
        if most is not None and spending.used(who.id) >= most:
            raise spending.spent(f"Your tokens of today are used up: {most:,}")
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))


def _prompt_items(who: Person, address: str) -> list[tuple[RateLimitItem, str, str]]:
    items: list[tuple[RateLimitItem, str, str]] = []
    if (most := of(Kind.PROMPTS, *scopes(who))) is not None:
        items.append((RateLimitItemPerMinute(most), f"user:{who.id}", "That is your limit"))
    if who.token and (most := of(Kind.PROMPTS, f"token:{who.token}")) is not None:
        items.append((RateLimitItemPerMinute(most), f"token:{who.token}", "That is this token's limit"))
    if (place := place_of(address)) and (most := of(Kind.PROMPTS, ADDRESS)) is not None:
        items.append((RateLimitItemPerMinute(most), f"address:{place}", "That is the limit of your address"))
    return items


def begin_session(who: Person) -> None:
    """Count a new session; raise TooOften where somebody begins more than anybody can use: each has a channel in Discord."""
    if not who.unlimited:
        _begin(SESSIONS, f"sessions:{who.id}", "Too many new sessions")


def begin_guest() -> None:
    """Count a new guest; raise TooOften where a program at the machine is a new one each time, past all that is theirs."""
    _begin(GUESTS, "guests", "Too many new guests")


def _begin(item: RateLimitItem, whose: str, words: str) -> None:
    try:
        if not _limiter().hit(item, whose):
            raise TooOften(words, max(1, round(_limiter().get_window_stats(item, whose).reset_time - time.time())))
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))


def daily(user: str, role: str) -> int | None:
    """Return how many tokens somebody may use in a day; None for any number."""
    return of(Kind.TOKENS, f"user:{user}", f"role:{role}")


def used_up(user: str, role: str) -> str | None:
    """Return what is told of a waiting turn whose person has used up the day; None where there is something left.

    Where Redis is away nothing is counted, and nobody is kept out.
    """
    if (most := daily(user, role)) is None:
        return None
    try:
        over = spending.used(user) >= most
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))
        return None
    # It stands in the conversation for good, so it names the moment, not how far that is.
    return f"Your tokens of today are used up: {most:,}. The day ends at midnight UTC, {spending.tomorrow():%d %B}: press Retry then." if over else None


def scopes(who: Person) -> tuple[str, str]:
    """Return under what somebody's own limits stand, the nearest first."""
    return f"user:{who.id}", f"role:{who.role}"


def room(key: str, mark: str, most: int | None, seconds: int) -> bool:
    """Count a mark in, or keep it counted for so long; False where so many others are counted already."""
    return bool(_open()(keys=[key], args=[mark, -1 if most is None else most, seconds]))


def open_page(who: Person, address: str = "", page: str | None = None) -> str:
    """Count an open page and return its mark; raise Busy where too many are open. Called again, it stays counted."""
    mark = page or uuid4().hex
    if who.unlimited:
        return mark
    try:
        counted = [(names.open_pages(f"user:{who.id}"), of(Kind.SOCKETS, *scopes(who)))]
        if who.token:
            counted.append((names.open_pages(f"token:{who.token}"), of(Kind.SOCKETS, f"token:{who.token}")))
        if place := place_of(address):
            counted.append((names.open_pages(f"address:{place}"), of(Kind.SOCKETS, ADDRESS)))
        for key, most in counted:
            if not room(key, mark, most, SOCKET_SECONDS):
                raise Busy(f"Too many pages are open: {most} at once is the limit. Close one, and reload this one.")
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))
    return mark


def close_page(who: Person, address: str, page: str) -> None:
    """Count a page out."""
    try:
        redis.client().zrem(names.open_pages(f"user:{who.id}"), page)
        if who.token:
            redis.client().zrem(names.open_pages(f"token:{who.token}"), page)
        if place := place_of(address):
            redis.client().zrem(names.open_pages(f"address:{place}"), page)
    except redis.ERRORS as error:
        log.warning("limits.off", error=str(error))


def left(user_id: str, role: str | None = None) -> list[Left]:
    """Return what somebody has left of each limit, in their own role or the one that they came with."""
    with transaction() as tx:
        user = tx.get(User, UUID(user_id))
        if user is None and user_id != NOBODY_YET:
            raise NotFound("There is no such account.")
        scopes = (f"user:{user_id}", f"role:{role or (user.role if user else Rank.GUEST)}")
    prompts, tokens, turns, sockets = (of(kind, *scopes) for kind in SHOWN)
    found = [Left(Kind.PROMPTS, None, None, None)]
    if prompts is not None:
        stats = _limiter().get_window_stats(RateLimitItemPerMinute(prompts), f"user:{user_id}")
        resets = datetime.fromtimestamp(stats.reset_time, UTC) if stats.remaining < prompts else None
        found = [Left(Kind.PROMPTS, max(0, stats.remaining), prompts, resets)]
    rest = None if tokens is None else max(0, tokens - spending.used(user_id))
    found.append(Left(Kind.TOKENS, rest, tokens, None if tokens is None else spending.tomorrow()))
    under_way = redis.client().zcount(names.turns_at_once(f"user:{user_id}"), time.time(), "+inf") if turns is not None else 0
    found.append(Left(Kind.TURNS, None if turns is None else max(0, turns - under_way), turns, None))
    key = names.open_pages(f"user:{user_id}")
    pages = redis.client().zcount(key, time.time(), "+inf")
    found.append(Left(Kind.SOCKETS, None if sockets is None else max(0, sockets - pages), sockets, None))
    return found


def table() -> list[tuple[str, str, dict[Kind, int | None], frozenset[Kind]]]:
    """Return every scope that has limits: its scope, what it is called, its limits, and which of them were changed."""
    rows = _overrides()
    with transaction() as tx:
        users = {f"user:{user.id}": user.name for user in tx.scalars(select(User).where(User.id.in_(_ids(rows, "user:"))))}
        held = tx.scalars(select(ApiToken).where(ApiToken.id.in_(_ids(rows, "token:"))))
        tokens = {f"token:{token.id}": f"token {token.name or token.id}" for token in held}
    called = {scope: scope.removeprefix("role:") for scope in DEFAULTS} | users | tokens
    changed = {scope: frozenset(Kind(kind) for one, kind in rows if one == scope) for scope in called}
    return [
        (scope, name, {kind: of(kind, scope) for kind in kinds(scope)}, changed[scope]) for scope, name in called.items()
    ]


def kinds(scope: str) -> tuple[Kind, ...]:
    """Return what is limited under a scope."""
    return tuple(DEFAULTS[scope]) if scope in DEFAULTS else SHOWN


def _ids(rows: dict[tuple[str, str], int | None], prefix: str) -> set[UUID]:
    return {UUID(scope.removeprefix(prefix)) for scope, _ in rows if scope.startswith(prefix)}


def read(value: str) -> int | str | None:
    """Return a limit as people type it (a number, `none` or `default`) for set_limit; raise BadInput for anything else."""
    word = value.strip().lower().replace(",", "")
    if word not in ("none", "default") and not (word.isascii() and word.isdigit()):
        raise BadInput(f"{value!r} is no limit: give a number, none or default.")
    return None if word == "none" else word if word == "default" else int(word)


def set_limit(scope: str, kind: str, value: int | str | None, actor: str, door: Door) -> None:
    """Change a limit from now on; None is no limit at all, "default" gives back what the platform has by itself."""
    known = _checked(scope)
    if kind not in list(Kind):
        raise BadInput(f"There is no limit {kind!r}: it is one of {', '.join(Kind)}.")
    if kind not in kinds(known):
        raise BadInput(f"There is no such limit for {scope}: it has {', '.join(kinds(known))}.")
    if value != "default" and value is not None and not (isinstance(value, int) and 0 <= value <= LARGEST):
        raise BadInput("A limit is a whole number, 0 or more.")
    with transaction() as tx:
        if value == "default":
            tx.execute(delete(Limit).where(Limit.scope == known, Limit.kind == kind))
        else:
            values = {"value": value, "changed_at": now()}
            put = insert(Limit).values(scope=known, kind=kind, **values)
            tx.execute(put.on_conflict_do_update(index_elements=["scope", "kind"], set_=values))
        audit.record(tx, actor, door, "limit.set", scope[:128], kind=kind, value=value)
    _set().at = -FRESH_SECONDS


def _checked(scope: str) -> str:
    """Return a scope as the table has it; a user or token may be named."""
    if scope in DEFAULTS:
        return scope
    if f"role:{scope}" in DEFAULTS:
        return f"role:{scope}"
    what, _, whose = scope.rpartition(":")
    with transaction() as tx:
        if what == "token":
            try:
                token = tx.get(ApiToken, UUID(whose))
            except ValueError:
                token = None
            if token is not None:
                return f"token:{token.id}"
        elif what in ("", "user"):
            user = tx.scalar(select(User).where(User.name == whose.strip().lower()))
            if user is None and (found := _uuid(whose)):
                user = tx.get(User, found)
            if user is not None and user.role != Rank.GUEST:
                return f"user:{user.id}"
    raise NotFound(f"There is no {scope!r}: name a role, a user, `token:ID`, `address` or `name`.")


def _uuid(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None
