"""Logins: live in Redis, kept in PostgreSQL, and gone from both once they have ended, whoever is looking just then."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, event, select, update

from app.core import db, keys, redis
from app.core.db import transaction
from app.core.models import Login, User, now
from app.services import accounts, logins
from app.wire import names
from app.wire.errors import NotFound, NotSignedIn
from app.wire.states import Door
from tests.support.people import Member
from tests.support.servers import Servers


@pytest.fixture
def asked(servers: Servers) -> list[str]:
    """What PostgreSQL is asked from now on."""
    found: list[str] = []
    event.listen(db.engine(), "before_cursor_execute", lambda *given: found.append(given[2]))
    return found


def test_who_it_is_costs_no_sql(ada: Member, asked: list[str]) -> None:
    first = logins.person(ada.login)
    assert asked
    asked.clear()
    assert logins.person(ada.login) == first
    assert asked == []
    assert (first.id, first.name, first.role) == (ada.id, "ada", "member")


def test_flushall_signs_nobody_out(ada: Member, servers: Servers) -> None:
    logins.person(ada.login)
    servers.redis.flushall()
    assert logins.person(ada.login).id == ada.id


def test_redis_away_signs_nobody_out(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise redis.ERRORS[0]

    with monkeypatch.context() as patch:
        patch.setattr(redis, "client", away)
        assert logins.person(ada.login).id == ada.id


def _expire(ada: Member) -> None:
    with transaction() as tx:
        tx.execute(update(Login).values(expires_at=now()))
    redis.client().flushall()


ENDS: dict[str, Callable[[Member], Any]] = {
    "signed out": lambda ada: logins.end(ada.login),
    "one": lambda ada: logins.end_one(logins.listed(ada.id)[0].id, logins.person(ada.login), Door.WEB),
    "everywhere": lambda ada: logins.end_everywhere(logins.person(ada.login), Door.WEB),
    "everybody": lambda ada: logins.end_everybodys("test", Door.CLI),
    "banned": lambda ada: accounts.disable("ada", "test", Door.CLI),
    "password": lambda ada: accounts.set_password("ada", "correct horse battery", "test", Door.CLI),
    "run out": _expire,
}


@pytest.mark.parametrize("way", ENDS)
def test_what_has_ended_is_over_at_once(ada: Member, bob: Member, way: str) -> None:
    logins.person(ada.login)
    logins.person(bob.login)
    ENDS[way](ada)
    with pytest.raises(NotSignedIn):
        logins.person(ada.login)
    assert not redis.client().exists(names.login(logins.digest(ada.login).hex()))
    if way not in ("everybody", "run out"):
        assert logins.person(bob.login).id == bob.id


@pytest.mark.parametrize("way", ["signed out", "banned", "password"])
def test_an_end_while_it_is_looked_up_wins(ada: Member, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Whoever looks has read the row before it went, and writes to Redis after the end was told."""
    first = True
    read = logins._read

    def slow(tx: Any, known: bytes) -> Any:
        nonlocal first
        found = read(tx, known)
        if first:
            first = False
            monkeypatch.setattr(logins, "_read", read)
            ENDS[way](ada)
        return found

    monkeypatch.setattr(logins, "_read", slow)
    with pytest.raises(NotSignedIn):
        logins.person(ada.login)
    with pytest.raises(NotSignedIn):
        logins.person(ada.login)


def test_another_role_holds_from_the_next_request_on(ada: Member) -> None:
    assert logins.person(ada.login).role == "member"
    accounts.set_role("ada", "admin", "test", Door.CLI)
    assert logins.person(ada.login).role == "admin"


def _forged(ada: Member, bob: Member) -> bytes:
    return b"gAAAA" + bytes(80)


def _bobs(ada: Member, bob: Member) -> bytes:
    logins.person(bob.login)
    return bytes(redis.client().get(names.login(logins.digest(bob.login).hex())))


def _of_another_key(ada: Member, bob: Member) -> bytes:
    known = logins.digest(ada.login)
    return keys.master().derive("rest", "login").seal(f'["{known.hex()}","{bob.id}","bob","owner",""]'.encode())


@pytest.mark.parametrize("made", [_forged, _bobs, _of_another_key])
def test_who_can_write_to_redis_makes_nobody_anyone(ada: Member, bob: Member, made: Callable[..., bytes]) -> None:
    redis.client().set(names.login(logins.digest(ada.login).hex()), made(ada, bob))
    assert logins.person(ada.login).id == ada.id


def test_an_old_answer_put_back_into_redis_is_not_believed(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    logins.person(ada.login)
    key = names.login(logins.digest(ada.login).hex())
    kept = redis.client().get(key)
    logins.end(ada.login)
    redis.client().set(key, kept)
    monkeypatch.setattr(logins, "LIVE_SECONDS", -30)
    with pytest.raises(NotSignedIn):
        logins.person(ada.login)


def test_redis_forgets_within_a_minute_by_itself(ada: Member) -> None:
    logins.person(ada.login)
    assert 0 < redis.client().ttl(names.login(logins.digest(ada.login).hex())) <= logins.LIVE_SECONDS


def test_logins_do_not_come_back_with_their_users(ada: Member) -> None:
    """A backup leaves the table out: its users are there again, their logins are not."""
    logins.person(ada.login)
    with transaction() as tx:
        tx.execute(delete(Login))
    logins.end_everybodys("test", Door.CLI)
    with pytest.raises(NotSignedIn):
        logins.person(ada.login)
    with transaction() as tx:
        assert tx.scalar(select(User.name)) == "ada"


def test_only_ones_own_can_be_ended(ada: Member, bob: Member) -> None:
    his = logins.listed(bob.id)[0].id
    for one in (his, "nonsense"):
        with pytest.raises(NotFound):
            logins.end_one(one, logins.person(ada.login), Door.WEB)
    assert logins.person(bob.login).id == bob.id


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18 Safari/604", "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537 Chrome/140.0 Safari/537 Edg/140.0", "Edge on Windows"),
        ("curl/8.5", "curl"),
        ("", "unknown"),
    ],
)
def test_a_device_in_words(agent: str, said: str) -> None:
    assert logins.device(agent) == said
