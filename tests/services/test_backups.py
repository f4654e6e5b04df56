"""Backups: consistent under load, sealed, whole or not there; proven by restoring; brought back without a loss."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import func, select, text

from app.commands.audit import audit_verify
from app.core import keyfile, keys, migrate, objects, pgtools, redis
from app.core.config import settings
from app.core.db import transaction
from app.core.models import AuditRecord, Backup, Login, Message, Turn, User
from app.local import scratch
from app.services import (
    audit,
    backup_store,
    backup_tables,
    backups,
    chain,
    proof,
    reseal_objects,
    restore,
    restore_notes,
    session_list,
    sessions,
    transcripts,
)
from app.wire import names
from app.wire.envelope import Ring
from app.wire.errors import BadInput, Busy, MeatLizardError, NotFound, Unavailable
from app.wire.states import Door
from tests.support import nodes, tasks
from tests.support.people import Member, member
from tests.support.servers import Servers
from tests.support.waiting import until


def take() -> str:
    backup = backups.ask("test", Door.CLI)
    assert backups.take(backup)
    return backup


def talk(who: Member, count: int = 1) -> str:
    session = who.session()
    nodes.ready()
    for number in range(count):
        who.ask(session, f"Where is marmalade {number}?")
        for job in nodes.jobs():
            nodes.finish(job, "On the shelf.")
    return session


def row(backup: str) -> Backup:
    with transaction() as tx:
        return tx.get_one(Backup, backup)


@contextmanager
def database(servers: Servers) -> Iterator[str]:
    """The address of a database that is not there yet, and is gone afterwards."""
    name = f"other_{uuid4().hex[:8]}"
    url = pgtools.beside(servers.settings.database_url, name)
    try:
        yield url
    finally:
        with closing(psycopg2.connect(servers.settings.dsn)) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"drop database if exists {name} with (force)")


def counted(tx: Any, model: Any) -> int:
    return int(tx.scalar(select(func.count()).select_from(model)) or 0)


def test_is_proven_and_says_what_it_holds(servers: Servers, ada: Member) -> None:
    session = talk(ada, 2)
    transcripts.enqueue(session, "closed")
    transcripts.upload(session)
    backup = take()
    assert row(backup).state == "taken"
    phases: list[str] = []
    found = proof.prove(backup, scratch.cluster, lambda phase, _: phases.append(phase))
    assert found["sound"], found
    assert found["audit_records"] > 0
    assert list(dict.fromkeys(phases)) == ["restore", "compare", "migrate"]
    assert row(backup).state == "proven"
    assert row(backup).proven_at
    manifest = backup_store.manifest(backup)
    assert manifest.tables["messages"][0] == 4
    assert manifest.tables["users"][0] == 1
    assert "logins" not in manifest.tables
    assert [node["name"] for node in manifest.nodes] == ["home"]
    [(key, sha256)] = backup_store.transcripts(manifest)
    assert key == f"transcripts/{session}/{sha256}.jsonl.gz.sealed"
    said = json.dumps(manifest.settings)
    assert manifest.settings["backup_schedule"] == settings().backup_schedule
    for secret in (settings().keys, settings().database_url, settings().s3_secret_key, settings().flower_password):
        assert secret.get_secret_value() not in said
    assert settings().s3_access_key not in said


def test_nothing_in_the_store_can_be_read(servers: Servers, ada: Member) -> None:
    talk(ada)
    take()
    files = [path for path in (servers.home.data / "s3").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"dump.sealed", "manifest.sealed", "transcripts.sealed"}
    for path in files:
        for word in (b"ada", b"PGDMP", b"messages", b"marmalade"):
            assert word not in path.read_bytes()


def test_is_of_one_moment_though_people_go_on(servers: Servers, ada: Member) -> None:
    """Turns come in all the while; what is in the dump is what was counted, and replies have their prompts."""
    talk(ada)
    stop, errors = threading.Event(), []

    def go_on() -> None:
        try:
            while not stop.is_set():
                ada.ask(ada.session(), "And now?")
                with transaction() as tx:
                    audit.record(tx, "ada", Door.WEB, "test.act")
        except MeatLizardError as error:
            errors.append(error)

    busy = threading.Thread(target=go_on)
    busy.start()
    try:
        backup = take()
    finally:
        stop.set()
        busy.join()
    assert all("limit" in str(error) or "waiting" in str(error) for error in errors), errors
    found = proof.prove(backup, scratch.cluster)
    assert found["sound"], found


def test_a_changed_or_shortened_dump_is_not_sound(servers: Servers, ada: Member) -> None:
    talk(ada)
    for spoil in (lambda data: data[:-10], lambda data: data[:500] + b"\0" + data[501:], lambda data: data + b"x"):
        backup = take()
        body = objects.get(backup_store.dump_key(backup))
        objects.put(backup_store.dump_key(backup), spoil(body))
        found = proof.prove(backup, scratch.cluster)
        assert not found["sound"]
        assert row(backup).state == "failed"
        assert backup_store.proof(backup) == found


def test_a_changed_list_of_transcripts_is_not_sound(servers: Servers, ada: Member) -> None:
    backup = take()
    objects.put(backup_store.list_key(backup), objects.get(backup_store.list_key(backup))[:-1])
    found = proof.prove(backup, scratch.cluster)
    assert found["problems"] == ["The list of transcripts in the object store is not what was sealed."]


def test_rows_that_differ_are_named() -> None:
    wanted = {"a": [1, "7"], "b": [2, "8"], "c": [3, "9"]}
    found = {"a": [1, "7"], "b": [2, "6"], "d": [0, "0"]}
    assert backup_tables.differences(wanted, found) == ["b: other contents", "c is missing", "d should not be there"]


def test_everything_comes_back_but_the_logins(servers: Servers, ada: Member) -> None:
    session = talk(ada, 3)
    backup = take()
    with transaction() as tx:
        then = {model: counted(tx, model) for model in (User, Message, Turn)}
        head = tx.scalar(select(func.max(AuditRecord.id)))
        assert counted(tx, Login) == 1
    talk(member("eve"), 2)
    sessions.remove(session, ada.id)
    redis.client().set("ml:anything", "1")
    restore.live(backup, "test", Door.CLI)
    with transaction() as tx:
        assert {model: counted(tx, model) for model in then} == then
        assert counted(tx, Login) == 0
        records, bad = audit.verify(tx)
        assert (bad, records) == (None, head + 1)
        newest = tx.scalars(select(AuditRecord).order_by(AuditRecord.id.desc()).limit(1)).one()
        assert (newest.action, newest.subject) == ("backup.restore", backup)
        assert tx.scalar(text("select count(*) from pg_database where datname like 'meatlizard%'")) == 1
    assert len(sessions.show(session, ada.id).messages) == 6
    assert not redis.client().exists("ml:anything")
    assert backup in [one.id for one in backups.listed()], "known again, though it is younger than itself"


def test_while_it_is_restored_people_are_told(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = take()
    said: list[str] = []

    def look(*given: Any) -> Any:
        try:
            session_list.page(ada.id)
        except Unavailable as error:
            said.append(str(error))
        return real(*given)

    real = restore._made
    monkeypatch.setattr(restore, "_made", look)
    restore.live(backup, "test", Door.CLI)
    assert said == ["The platform is being restored from a backup. Try again in a few minutes."]
    assert session_list.page(ada.id).sessions == []


def test_a_bad_backup_changes_nothing(servers: Servers, ada: Member) -> None:
    session = talk(ada)
    backup = take()
    body = objects.get(backup_store.dump_key(backup))
    objects.put(backup_store.dump_key(backup), body[:-10])
    with pytest.raises(MeatLizardError):
        restore.live(backup, "test", Door.CLI)
    assert len(sessions.show(session, ada.id).messages) == 2
    with transaction() as tx:
        assert tx.scalar(text("select count(*) from pg_database where datname like 'meatlizard%'")) == 1


def test_a_killed_restore_is_opened_again(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = take()
    url = restore.live_url()

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(restore, "_made", die)
        patch.setattr(restore, "release", lambda *_: None)  # A killed process tidies nothing up.
        patch.setattr(restore, "_drop_leftovers", lambda *_: None)
        with pytest.raises(Killed):
            restore.live(backup, "test", Door.CLI)
    with pytest.raises(Unavailable):
        session_list.page(ada.id)
    assert restore.reopen(url)
    assert session_list.page(ada.id).sessions == []
    assert not restore.reopen(url)


def test_goes_into_another_database_and_only_an_empty_one(servers: Servers, ada: Member) -> None:
    talk(ada)
    backup = take()
    with database(servers) as url:
        restore.into(url, backup)
        with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
            cursor.execute("select count(*) from messages")
            assert cursor.fetchone() == (2,)
        with pytest.raises(BadInput):
            restore.into(url, backup)


def test_the_command_asks_first_and_takes_a_backup_of_what_is_there(servers: Servers, ada: Member) -> None:
    session = talk(ada)
    backup = take()
    sessions.remove(session, ada.id)

    def restore_by_hand(said: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.cli", "backup", "restore", backup, *words]
        return subprocess.run(command, input=said, capture_output=True, text=True, check=False)

    refused = restore_by_hand("n\n")
    assert (refused.returncode, "in place of all that this platform holds" in refused.stdout) == (130, True)
    assert (session_list.page(ada.id).sessions, backup_store.whole()) == ([], [backup])
    with database(servers) as url:
        beside = restore_by_hand("", "--to", url.replace("+psycopg2", ""))
        assert (beside.returncode, "is restored there" in beside.stdout) == (0, True), beside.stderr
    assert session_list.page(ada.id).sessions == []
    done = restore_by_hand("y\n")
    assert done.returncode == 0, done.stderr
    for phase in ("Dumping and sealing", "Counting and hashing", "Restoring aside", "Comparing every table", "Putting it in place"):
        assert f"{phase} " in done.stderr
    assert "100 %" in done.stderr
    assert [one.id for one in session_list.page(ada.id).sessions] == [session]
    [before] = set(backup_store.whole()) - {backup}
    assert before in done.stdout


def test_an_older_versions_backup_is_migrated(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of the schema before this one is backed up; what comes back has the newest."""
    head = migrate.current(servers.settings.database_url)
    with database(servers) as old, database(servers) as new:
        with pgtools.connected(pgtools.beside(old, "postgres")) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"create database {old.rpartition('/')[2]}")
        migrate.upgrade(old, "0006")
        with pgtools.connected(old) as connection, connection, connection.cursor() as cursor:
            cursor.execute("insert into users (id, name, role, created_at) values (gen_random_uuid(), 'old', 'member', now())")
        monkeypatch.setenv("MEATLIZARD_DATABASE_URL", old)
        settings.cache_clear()
        manifest = backups._take("20200101T000000Z-0001", lambda *_: None)
        monkeypatch.delenv("MEATLIZARD_DATABASE_URL")
        settings.cache_clear()
        assert manifest.revision == "0006"
        found = proof.prove(manifest.id, scratch.cluster)
        assert found["sound"], found
        restore.into(new, manifest.id)
        assert migrate.current(new) == head
        with pgtools.connected(new) as connection, connection.cursor() as cursor:
            cursor.execute("select name from users")
            assert cursor.fetchall() == [("old",)]


@pytest.mark.parametrize("point", ["dump", "counts", "manifest"])
def test_cut_off_anywhere_it_is_no_backup_and_is_taken_again(
    servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    backup = backups.ask("test", Door.CLI)
    with monkeypatch.context() as patch:
        match point:
            case "dump":
                patch.setattr(objects, "PART_BYTES", 1)
                patch.setattr(objects, "upload_stream", die)
                objects.client().create_multipart_upload(Bucket=settings().s3_bucket, Key=backup_store.dump_key(backup))
            case "counts":
                patch.setattr(backup_tables, "prints", die)
            case "manifest":
                patch.setattr(backup_store, "keep", die)
        with pytest.raises(Killed):
            backups.take(backup)
    assert backup_store.whole() == []
    assert row(backup).state == "running"
    assert backups.tidy() == [backup]
    assert backup_store.there() == {}
    assert objects.client().list_multipart_uploads(Bucket=settings().s3_bucket).get("Uploads", []) == []
    assert backups.take(backup)
    assert backup_store.whole() == [backup]


def _killed_at(moment: Callable[[Any], bool]) -> bool:
    """Kill a `backup now` at a moment; False where that went by between two looks, and the backup was through."""
    known = {one.id for one in backups.listed()}
    command = [sys.executable, "-m", "app.cli", "backup", "now", "--no-prove"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def seen() -> bool:
        return any(moment(one) for one in backups.listed() if one.id not in known)

    try:
        until(lambda: seen() or process.poll() is not None)
        return process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_killed_in_earnest_at_any_moment_nothing_looks_whole(servers: Servers, ada: Member) -> None:
    """SIGKILL to `backup now` when it has begun, while it dumps, while it counts: what has a manifest is whole, all else goes."""
    talk(ada)
    good = take()
    with transaction() as tx:
        tx.execute(text("create table noise as select n, sha512(n::text::bytea) from generate_series(1, 20000) n"))
    try:
        for moment in (lambda one: one.state == "running", lambda one: one.phase == "dump", lambda one: one.phase == "counts"):
            assert any(_killed_at(moment) for _ in range(20)), "the moment was never seen"
            for one in backup_store.whole():
                assert objects.size(backup_store.dump_key(one)) == backup_store.manifest(one).size
            again = until(backups.tidy)
            assert set(backup_store.there()) == set(backup_store.whole()), "no half of one is left"
            assert good in backup_store.whole()
        assert backups.take(again[-1])
    finally:
        with transaction() as tx:
            tx.execute(text("drop table noise"))


def test_one_at_a_time_and_each_once(servers: Servers, ada: Member) -> None:
    backup = backups.ask("test", Door.CLI)
    with backups.alone():
        with pytest.raises(Busy):
            backups.take(backup)
        assert backups.tidy() == []
    assert backups.take(backup)
    assert backups.take(backup) is None


def test_whoever_comes_right_after_another_is_not_kept_out(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was closed holds its locks until the server has noticed; here it notices late."""
    with ExitStack() as late:
        monkeypatch.setattr(pgtools, "closing", lambda connection: nullcontext(late.enter_context(closing(connection))))
        for _ in range(2):
            with backups.alone():
                pass


def test_begin_is_an_order_that_is_not_lost(servers: Servers) -> None:
    backup = backups.begin("ada", Door.DISCORD)
    assert (names.TAKE_BACKUP, [backup]) in tasks.lying(servers.redis, names.STORAGE)
    [one] = backups.listed()
    assert (one.id, one.state, one.actor) == (backup, "waiting", "ada")
    servers.redis.flushall()
    assert backups.tidy() == [backup]
    assert not backups.due()


def test_other_keys_are_named_as_the_reason(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = take()
    monkeypatch.setattr(keys, "archive", lambda: keys.master().derive("other"))
    with pytest.raises(BadInput, match="MEATLIZARD_KEYS"):
        backup_store.manifest(backup)


def test_what_is_asked_for_is_found_by_its_beginning(servers: Servers, ada: Member) -> None:
    with pytest.raises(NotFound):
        backup_store.chosen("latest")
    backup = take()
    assert backup_store.chosen("latest") == backup_store.chosen(backup[:12]) == backup
    with pytest.raises(NotFound):
        backup_store.chosen("1999")


def test_grandfather_father_and_son() -> None:
    start = datetime(2026, 1, 1, 3, 15, tzinfo=UTC)
    taken = [f"{start + timedelta(days=day):%Y%m%dT%H%M%SZ}-0000" for day in range(400)]
    end = start + timedelta(days=400)
    stay = backup_store.worth_keeping(taken, end, days=7, weeks=4, months=12)
    assert set(taken[-7:]) <= stay
    months = {backup_store.taken_at(one).strftime("%Y-%m") for one in stay}
    assert len(months) == 12
    assert len(stay) <= 7 + 4 + 12
    assert backup_store.worth_keeping(taken[:1], end, 1, 0, 0) == {taken[0]}
    twice = ["20260101T010000Z-0000", "20260101T230000Z-0000"]
    assert backup_store.worth_keeping(twice, end, 1, 0, 0) == {twice[1]}, "the newest of the day"
    assert backup_store.worth_keeping(twice, backup_store.taken_at(twice[1]), 1, 0, 0) == set(twice), "while they are young"


def test_old_ones_go_when_a_new_one_is_there(servers: Servers, ada: Member) -> None:
    with transaction() as tx:
        for old in ("20250101T000000Z-0001", "20250101T120000Z-0002"):
            tx.add(Backup(id=old, state="taken", actor="test", door="cli"))
    for old in ("20250101T000000Z-0001", "20250101T120000Z-0002"):
        objects.put(backup_store.dump_key(old), b"x")
        objects.put(f"backups/{old}/manifest.sealed", b"x")
    new = take()
    assert backup_store.whole() == [new, "20250101T120000Z-0002"]
    assert set(backup_store.there()) == {new, "20250101T120000Z-0002"}
    assert {one.id for one in backups.listed()} == {new, "20250101T120000Z-0002"}


def test_junk_in_the_store_silences_no_backup(servers: Servers, ada: Member, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has the store and the database, and no key, could else cut the trail and have it called sound."""
    backup = take()
    heads, unread = backup_store.audit_heads()
    assert len(heads) == 1
    assert unread == []
    sealed = objects.get(f"backups/{backup}/manifest.sealed")
    later = f"{datetime.now(UTC) + timedelta(days=1):%Y%m%dT%H%M%SZ}-abcd"
    for name in (later, "junk", "99999999T999999Z-abcd", f"{later[:16]}\x1b[2J"):
        objects.put(f"backups/{name}/manifest.sealed", sealed)
    assert backup_store.audit_heads() == (heads, [later])
    assert backup_store.whole() == [later, backup]
    with transaction() as tx:
        tx.execute(text("delete from audit_log where id >= :number"), {"number": max(heads)})
    with pytest.raises(MeatLizardError, match="was changed, removed"):
        audit_verify()
    assert later in capsys.readouterr().err
    backups.thin_out()
    backups.adopt()
    assert backup in backup_store.whole()


def gone_back(backup: str) -> None:
    """What whoever has the database can do: the trail cut to a backup's head, and a restore told of in its place."""
    head, _ = backup_store.manifest(backup).audit
    with transaction() as tx:
        tx.execute(text("delete from audit_log where id > :head"), {"head": head})
        audit.record(tx, "cli", Door.CLI, "backup.restore", backup)


def acted(action: str) -> None:
    with transaction() as tx:
        audit.record(tx, "eve", Door.WEB, action)


def test_a_restore_that_never_was_takes_away_no_backups_word(
    servers: Servers, ada: Member, capsys: pytest.CaptureFixture[str]
) -> None:
    """The chain has no key: what bears a restore out is a note that has one."""
    backup = take()
    acted("misdeed")
    take()
    gone_back(backup)
    assert chain.verified().sound, "nothing in the trail itself tells"
    with pytest.raises(MeatLizardError, match="was changed, removed"):
        audit_verify()
    assert "no note sealed by this platform" in capsys.readouterr().err


def test_a_restore_is_borne_out_also_under_another_key(servers: Servers, ada: Member, capsys: pytest.CaptureFixture[str]) -> None:
    before = keys.master()
    backup = take()
    acted("folly")
    left_behind = take()
    restore.live(backup, "test", Door.CLI)
    acted("work")
    after = take()
    audit_verify()
    heads, _ = backup_store.audit_heads(restore_notes.of_the_trail()[0])
    assert set(heads) == {backup_store.manifest(one).audit[0] for one in (backup, after)}, left_behind
    [key] = restore_notes.listed()
    for junk in ("restores/junk", restore_notes.key("ab" * 32)):
        objects.put(junk, b"MLC1" + bytes(200))
    try:
        new = Ring.parse(Fernet.generate_key().decode())
        keyfile.write(Ring((*new.keys, *before.keys)))
        walk, name = reseal_objects.Walk(), ""
        while (name := walk.after(name) or "") != "":
            reseal_objects.reseal(name)
        keyfile.write(new)
        capsys.readouterr()
        audit_verify()
        assert capsys.readouterr().err == ""
        # One restore's note is no other's: copied beside another record it does not open.
        gone_back(backup)
        with transaction() as tx:
            forged = tx.scalars(select(AuditRecord).order_by(AuditRecord.id.desc()).limit(1)).one()
        objects.put(restore_notes.key(forged.hash.hex()), objects.get(key))
        with pytest.raises(MeatLizardError, match="was changed, removed"):
            audit_verify()
    finally:
        keyfile.write(before)


def test_a_restore_that_did_not_come_to_be_leaves_no_note(
    servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = take()

    def broken(*_: Any) -> None:
        assert len(list(restore_notes.listed())) == 1
        raise MeatLizardError("It broke.")

    monkeypatch.setattr(restore, "_swap", broken)
    with pytest.raises(MeatLizardError, match="It broke"):
        restore.live(backup, "test", Door.CLI)
    assert list(restore_notes.listed()) == []
    assert restore_notes.of_the_trail() == ([], [])
