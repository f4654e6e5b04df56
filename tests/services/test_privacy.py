"""A person takes all of theirs out, and deletes it: nothing of it is left anywhere."""

import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg2
import pytest
from sqlalchemy import select, update

from app.core import redis
from app.core.config import settings
from app.core.db import transaction
from app.core.models import AuditRecord, Erasure, Login, Session, Turn, User, now
from app.services import (
    accounts,
    archive,
    asking,
    audit,
    erasure,
    logins,
    sessions,
    takeout,
    tokens,
    transcripts,
    turns,
)
from app.wire.errors import NotAllowed, NotFound, NotSignedIn
from app.wire.states import Door, TurnState
from tests.support import nodes
from tests.support.people import Member, member
from tests.support.servers import Servers


def answered(member: Member, words: str = "Why is the sky blue?") -> str:
    session = member.session()
    member.ask(session, words)
    for job in nodes.jobs():
        nodes.finish(job, "Because of Rayleigh.")
    return session


def taken(member: Member) -> zipfile.ZipFile:
    with takeout.packed(member.id, member.name, Door.WEB) as file:
        return zipfile.ZipFile(io.BytesIO(file.read()))


def test_an_export_holds_all_of_ones_own_and_nothing_of_others(ada: Member, bob: Member) -> None:
    nodes.ready()
    first, second = answered(ada), answered(ada, "And the sea?")
    archive.close(second, ada.id)
    theirs = answered(bob, "A secret of bob's")
    found = taken(ada)
    names = set(found.namelist())
    assert {f"conversations/{one}.{kind}" for one in (first, second) for kind in ("jsonl", "md")} < names
    assert not any(theirs in name for name in names)
    everything = "".join(found.read(name).decode() for name in names)
    assert "And the sea?" in everything
    assert "Because of Rayleigh." in found.read(f"conversations/{first}.md").decode()
    assert "secret of bob" not in everything
    account = json.loads(found.read("account.json"))
    assert (account["name"], account["role"], len(account["tokens"])) == ("ada", "member", 1)
    told = [json.loads(line)["action"] for line in found.read("trail.jsonl").splitlines()]
    assert "user.add" in told
    assert "user.export" in told
    assert [(one["browser"], one["address"]) for one in account["logins"]] == [("tests", "127.0.0.1")]
    assert ada.token not in everything


def test_whoever_takes_the_name_of_one_who_is_gone_gets_nothing_of_theirs(ada: Member) -> None:
    erasure.begin(ada.id, "ada", Door.WEB)
    erasure.erase(ada.id)
    told = [json.loads(line)["action"] for line in taken(member("ada")).read("trail.jsonl").splitlines()]
    assert told == ["user.add", "token.new", "user.export"]


@pytest.mark.parametrize("name", ["anonymous", "cli", "mac", "4711"])
def test_who_is_called_like_something_in_the_trail_gets_nothing_of_it(ada: Member, name: str) -> None:
    with transaction() as tx:
        tx.execute(update(User).where(User.id == UUID(ada.id)).values(name=name))
        for actor, door, action, subject in (
            ("anonymous", Door.WEB, "login.refused", ""),
            ("cli", Door.CLI, "keys.rotate", "x"),
            ("cli", Door.CLI, "node.invite", "mac"),
            ("mac", Door.NODE, "envelope.refused", "mac"),
            ("mac", Door.DISCORD, "frame.refused", "mac"),
            ("4711", Door.DISCORD, "frame.refused", "1"),
        ):
            audit.record(tx, actor, door, action, subject)
    with takeout.packed(ada.id, name, Door.WEB) as file:
        found = zipfile.ZipFile(io.BytesIO(file.read())).read("trail.jsonl")
    assert [json.loads(line)["action"] for line in found.splitlines()] == ["user.export"]


def test_an_export_of_nobody_is_refused(ada: Member) -> None:
    with pytest.raises(NotFound):
        takeout.packed(str(UUID(int=7)), "ada", Door.WEB)


def test_a_deleted_person_is_gone_everywhere(servers: Servers, ada: Member, bob: Member) -> None:
    nodes.ready(slots=1)
    kept = answered(bob)
    session, closed = answered(ada), answered(ada)
    archive.close(closed, ada.id)
    transcripts.upload(closed)
    running, waiting = ada.ask(session).turn, ada.ask(session).turn
    bucket = Path(servers.home.path) / "data" / "s3"
    assert any(closed in str(path) for path in bucket.rglob("*"))
    [job] = nodes.jobs()
    erasure.begin(ada.id, "ada", Door.WEB)
    with pytest.raises(NotSignedIn):
        tokens.holder(ada.token)
    with pytest.raises(NotSignedIn):
        logins.person(ada.login)
    assert erasure.waiting() == [ada.id]
    erasure.erase(ada.id)
    assert erasure.waiting() == []
    with psycopg2.connect(servers.settings.dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select table_name, column_name from information_schema.columns where table_schema = 'public' and data_type = 'uuid'"
        )
        for table, column in cursor.fetchall():
            cursor.execute(f'select count(*) from "{table}" where "{column}" = any(%s::uuid[])', ([ada.id, session, closed, running],))
            assert cursor.fetchone() == (0,), f"{table}.{column}"
    assert not any(closed in str(path) for path in bucket.rglob("*"))
    left = redis.client().keys("*")
    assert not [key for key in left if ada.id.encode() in key or waiting.encode() in key and b"stream" in key]
    # What the node still brings is dropped, and its slot is free again.
    assert not nodes.finish(job)
    assert turns.reply(running) == ""
    assert redis.client().scard("ml:leased:home") == 0
    with transaction() as tx:
        assert str(tx.scalars(select(Session.id)).one()) == kept
        assert tx.scalars(select(Turn.state)).one() == TurnState.DONE
        assert {user.name for user in tx.scalars(select(User))} == {"bob"}
    erasure.erase(ada.id)


def test_a_guest_is_deleted_like_anybody(servers: Servers) -> None:
    guest = logins.person(accounts.enter_as_guest("", "127.0.0.1"))
    session = sessions.create(guest.id).id
    erasure.begin(guest.id, guest.name, Door.WEB)
    erasure.erase(guest.id)
    with transaction() as tx:
        assert tx.get(User, UUID(guest.id)) is None
        assert tx.get(Session, UUID(session)) is None


def test_a_guest_whose_logins_have_ended_is_deleted_after_a_while(servers: Servers, ada: Member) -> None:
    nodes.ready()
    hours = timedelta(hours=settings().guest_keep_hours)

    def came(*, said: timedelta, login: timedelta | None) -> str:
        """A guest who came long ago, said something so long ago, and whose login ends so far from now; or was ended."""
        token = accounts.enter_as_guest("", "127.0.0.1")
        who = logins.person(token)
        guest = who.id
        session = sessions.create(guest).id
        asking.submit(who, session, str(uuid4()), "Why?", None, Door.WEB)
        [job] = nodes.jobs()
        nodes.finish(job)
        with transaction() as tx:
            tx.execute(update(User).where(User.id == UUID(guest)).values(created_at=now() - timedelta(days=40)))
            tx.execute(update(Session).where(Session.id == UUID(session)).values(updated_at=now() - said))
            if login is not None:
                tx.execute(update(Login).where(Login.user_id == UUID(guest)).values(expires_at=now() + login))
        if login is None:
            logins.end(token)
        return guest

    minute = timedelta(minutes=1)
    stays = [came(said=40 * hours, login=minute), came(said=hours - minute, login=-minute), came(said=hours - minute, login=None)]
    goes = [came(said=hours + minute, login=-minute), came(said=hours + minute, login=None)]
    assert erasure.forget_guests() == 2
    assert erasure.forget_guests() == 0, "begun is begun"
    assert sorted(erasure.waiting()) == sorted(goes)
    for guest in goes:
        erasure.erase(guest)
    with transaction() as tx:
        assert {str(one) for one in tx.scalars(select(User.id))} == {*stays, ada.id}
        assert {str(one) for one in tx.scalars(select(Session.user_id))} == set(stays)
        assert {str(one) for one in tx.scalars(select(Turn.user_id))} == set(stays)
        told = tx.scalars(select(AuditRecord).where(AuditRecord.action == "user.delete")).all()
        assert [(one.actor, one.door) for one in told] == [("platform", "beat")] * 2


def test_a_deletion_that_was_cut_off_goes_on(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.ready()
    for _ in range(3):
        answered(ada)
    real, calls = transcripts.forget, 0

    def cut_off(session: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        real(session)

    monkeypatch.setattr(transcripts, "forget", cut_off)
    erasure.begin(ada.id, "ada", Door.WEB)
    with pytest.raises(KeyboardInterrupt):
        erasure.erase(ada.id)
    assert erasure.waiting() == [ada.id]
    erasure.erase(ada.id)
    with transaction() as tx:
        assert not list(tx.scalars(select(User)))
        assert not list(tx.scalars(select(Erasure)))


def test_the_only_owner_stays(servers: Servers) -> None:
    owner = accounts.add("root", None, "owner", "test", Door.CLI)
    with pytest.raises(NotAllowed, match="only owner"):
        erasure.begin(owner, "root", Door.WEB)
    assert erasure.waiting() == []
