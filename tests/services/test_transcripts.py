"""Transcripts in the object store: whole, sealed, once; and never lost where the store is away."""

import gzip
import json
import signal
import tracemalloc
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import insert, select, update

from app.core import keys, objects
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Message, Session, Transcript, Turn, new_id, now
from app.services import archive, channels, session_list, sessions, transcript_lines, transcripts
from app.wire import chunks, names
from app.wire.errors import BadInput, NotFound, Unavailable
from app.wire.states import TurnState
from tests.support import nodes, tasks
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until


def talk(who: Member, session: str, *questions: str) -> None:
    """Ask and answer, each in the branch of the one before."""
    nodes.ready()
    parent = None
    for question in questions:
        asked = who.ask(session, question, parent)
        [job] = nodes.jobs()
        assert nodes.finish(job, f"To {question}: because.")
        parent = sessions.show(session, who.id).messages[-1]["id"]
        assert asked.turn


def of_kind(lines: list[dict], kind: str) -> list[dict]:
    return [line for line in lines if line["kind"] == kind]


def stored_objects() -> list[str]:
    return [one.key for one in objects.listed(transcripts.PREFIX)]


def asked_for(servers: Servers) -> list[str]:
    lying = tasks.lying(servers.redis, names.STORAGE)
    return [arguments[0] for task, arguments in lying if task == names.UPLOAD_TRANSCRIPT]


def test_holds_every_branch_author_time_model_node_and_usage(servers: Servers, ada: Member) -> None:
    session = ada.session()
    talk(ada, session, "One?", "Two?")
    ada.ask(session, "Another one?", None)  # A branch beside the first.
    [job] = nodes.jobs()
    nodes.finish(job, "", TurnState.FAILED, reason="The engine fell over.")
    transcripts.enqueue(session, "closed")
    assert transcripts.upload(session)
    lines = list(transcripts.read(session))
    assert lines[0]["kind"] == "session"
    assert lines[0]["owner"] == "ada"
    assert lines[0]["title"] == "One?"
    messages = of_kind(lines, "message")
    assert [line["text"] for line in messages] == ["One?", "To One?: because.", "Two?", "To Two?: because.", "Another one?"]
    assert [line["parent"] for line in messages] == [None, *(line["id"] for line in messages[:3]), None]
    assert messages[0]["author"] == "ada"
    reply = messages[1]
    assert (reply["author"], reply["turn"]["node"], reply["turn"]["usage"]["completion_tokens"]) == ("stand-in", "home", 2)
    assert reply["turn"]["finished_at"] > reply["turn"]["asked_at"]
    [failed] = of_kind(lines, "turn")
    assert (failed["prompt"], failed["state"], failed["reason"]) == (messages[4]["id"], "failed", "The engine fell over.")
    assert lines[-1] == {"kind": "end", "messages": 5}


def test_the_object_is_named_by_what_is_in_it_and_shows_nothing(servers: Servers, ada: Member) -> None:
    session = ada.session()
    talk(ada, session, "Where is the marmalade?")
    transcripts.enqueue(session, "closed")
    transcripts.upload(session)
    [key] = stored_objects()
    row = transcripts.about(session)
    assert row is not None
    assert (row.state, row.messages, row.size) == ("stored", 2, objects.size(key))
    [file] = (servers.home.data / "s3").rglob("*.sealed")
    assert b"marmalade" not in file.read_bytes()
    with objects.reading(key) as body:
        lines = gzip.decompress(b"".join(chunks.unseal(body, keys.archive(), f"transcript/{session}")))
    assert b"marmalade" in lines
    import hashlib

    assert key == f"transcripts/{session}/{hashlib.sha256(lines).hexdigest()}.jsonl.gz.sealed"


def test_goes_once_however_often_it_is_asked_for(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ada.session()
    talk(ada, session, "One?")
    sent: list[str] = []
    real = objects.upload
    monkeypatch.setattr(objects, "upload", lambda key, path: (sent.append(key), real(key, path)))
    transcripts.enqueue(session, "closed")
    assert transcripts.upload(session)
    assert not transcripts.upload(session)  # The task came twice.
    transcripts.enqueue(session, "recycled")  # The same content once more.
    assert transcripts.upload(session)
    assert len(sent) == 1
    assert len(stored_objects()) == 1


def test_a_newer_one_takes_the_place_of_the_old(servers: Servers, ada: Member) -> None:
    session = ada.session()
    talk(ada, session, "One?")
    transcripts.enqueue(session, "recycled")
    transcripts.upload(session)
    old = stored_objects()
    talk(ada, session, "Two?")
    assert len(of_kind(list(transcripts.read(session)), "message")) == 4, "what is newer than the object is read too"
    transcripts.enqueue(session, "closed")
    transcripts.upload(session)
    assert len(stored_objects()) == 1
    assert stored_objects() != old
    assert len(of_kind(list(transcripts.read(session)), "message")) == 4


def test_asked_for_again_while_it_goes_out_it_goes_once_more(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ada.session()
    talk(ada, session, "One?")
    transcripts.enqueue(session, "recycled")
    real = objects.upload

    def upload(key: str, path: Path) -> None:
        real(key, path)
        transcripts.enqueue(session, "closed")

    monkeypatch.setattr(objects, "upload", upload)
    transcripts.upload(session)
    about = transcripts.about(session)
    assert about is not None
    assert about.state == "waiting"


def test_a_damaged_object_is_noticed_and_the_database_answers(servers: Servers, ada: Member) -> None:
    session = ada.session()
    talk(ada, session, "One?")
    transcripts.enqueue(session, "closed")
    transcripts.upload(session)
    [file] = (servers.home.data / "s3").rglob("*.sealed")
    file.write_bytes(file.read_bytes()[:-1])
    assert len(of_kind(list(transcripts.read(session)), "message")) == 2


def test_a_store_that_is_away_costs_nothing_but_time(servers: Servers, ada: Member) -> None:
    session = ada.session()
    talk(ada, session, "One?")
    transcripts.enqueue(session, "closed")
    servers.s3.stop(signal.SIGKILL)
    try:
        with pytest.raises(Unavailable):
            transcripts.upload(session)
        [row] = transcripts.waiting()
        assert (row.session, row.tries) == (session, 1)
        assert "object store" in str(row.error)
        assert len(of_kind(list(transcripts.read(session)), "message")) == 2, "read from the database meanwhile"
    finally:
        servers.s3.start()
        until(lambda: _there(), said=servers.s3.log.read_text)
    assert transcripts.upload(session)
    assert transcripts.waiting() == []
    assert len(stored_objects()) == 1


def _there() -> bool:
    try:
        objects.size("x")
    except Unavailable:
        return False
    return True


def test_what_the_broker_forgot_is_sent_again(servers: Servers, ada: Member) -> None:
    session = ada.session()
    talk(ada, session, "One?")
    transcripts.enqueue(session, "closed")
    assert asked_for(servers) == [session]
    servers.redis.flushall()
    assert transcripts.sweep() == [session]


def test_a_session_that_was_long_idle_is_kept_once(servers: Servers, ada: Member) -> None:
    idle, fresh, empty = ada.session(), ada.session(), ada.session()
    talk(ada, idle, "One?")
    talk(ada, fresh, "One?")
    with transaction() as tx:
        old = now() - timedelta(days=settings().session_idle_days + 1)
        tx.execute(update(Session).where(Session.id.in_([UUID(idle), UUID(empty)])).values(updated_at=old))
        tx.execute(update(Turn).where(Turn.session_id == UUID(idle)).values(finished_at=old))
    assert transcripts.sweep() == [idle]
    transcripts.upload(idle)
    assert transcripts.sweep() == []
    about = transcripts.about(idle)
    assert about is not None
    assert (about.state, about.why) == ("stored", "idle")


def test_recycling_a_channel_asks_before_it_goes(servers: Servers, ada: Member) -> None:
    session = ada.session()
    place = channels.of_session(session)
    assert place is not None
    channels.recycled(place)
    assert asked_for(servers) == [session]
    about = transcripts.about(session)
    assert about is not None
    assert (about.state, about.why) == ("waiting", "recycled")


def test_closing_keeps_it_and_opening_again_brings_it_back(servers: Servers, ada: Member, bob: Member) -> None:
    session = ada.session()
    talk(ada, session, "One?")
    with pytest.raises(NotFound):
        archive.close(session, bob.id)
    archive.close(session, ada.id)
    assert asked_for(servers) == [session]
    assert session_list.page(ada.id).sessions == []
    assert archive.listed(bob.id).sessions == []
    [one] = archive.listed(ada.id).sessions
    assert (one.id, one.title, one.transcript) == (session, "One?", "waiting")
    with pytest.raises(NotFound):
        ada.ask(session, "And now?")
    with pytest.raises(NotFound):
        archive.reopen(session, bob.id)
    archive.reopen(session, ada.id)
    assert [one.id for one in session_list.page(ada.id).sessions] == [session]
    assert ada.ask(session, "And now?")


def test_a_session_that_speaks_is_not_closed(servers: Servers, ada: Member) -> None:
    session = ada.session()
    ada.ask(session, "One?")
    with pytest.raises(BadInput):
        archive.close(session, ada.id)


def test_a_deleted_session_leaves_nothing_in_the_store(servers: Servers, ada: Member) -> None:
    session, kept = ada.session(), ada.session()
    for one in (session, kept):
        talk(ada, one, "One?")
        archive.close(one, ada.id)
        transcripts.upload(one)
    archive.remove(session, ada.id)
    assert transcripts.tidy() == 1
    assert [kept in key for key in stored_objects()] == [True]
    assert transcripts.about(session) is None


def test_too_old_a_transcript_goes(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ada.session()
    talk(ada, session, "One?")
    archive.close(session, ada.id)
    transcripts.upload(session)
    assert transcripts.tidy() == 0
    monkeypatch.setenv("MEATLIZARD_TRANSCRIPT_DAYS", "30")
    settings.cache_clear()
    assert transcripts.tidy() == 0
    with transaction() as tx:
        tx.execute(update(Transcript).values(stored_at=now() - timedelta(days=31)))
    assert transcripts.tidy() == 1
    assert stored_objects() == []
    assert len(of_kind(list(transcripts.read(session)), "message")) == 2, "the session itself stays"


def fill(session: str, count: int, text: str) -> None:
    """Write many messages at once, as a very long conversation would have."""
    ring = keys.rest(session)
    with transaction() as tx:
        for start in range(0, count, 1000):
            rows = [
                {"id": new_id(), "session_id": UUID(session), "role": "user", "body": ring.seal(f"{number} {text}".encode())}
                for number in range(start, min(start + 1000, count))
            ]
            tx.execute(insert(Message), rows)


def test_memory_stays_flat_however_long_it_is(servers: Servers, ada: Member) -> None:
    """Six thousand messages of a kilobyte take as much memory as a quarter of them does."""

    def peak(count: int) -> int:
        session = ada.session()
        fill(session, count, "x" * 1000)
        transcripts.enqueue(session, "closed")
        objects.size("warm")  # What is loaded once is not counted.
        tracemalloc.start()
        try:
            transcripts.upload(session)
            read = sum(line["kind"] == "message" for line in transcripts.read(session))
            found = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert read == count
        return found

    small = peak(1500)
    assert peak(6000) < small + (2 << 20)


def test_lines_are_one_states_even_when_more_is_said_meanwhile(servers: Servers, ada: Member) -> None:
    session = ada.session()
    fill(session, 600, "x")
    with transcript_lines.reading(session) as (lines, _):
        first = next(lines)
        fill(session, 10, "later")
        rest = list(lines)
    assert first["kind"] == "session"
    assert rest[-1] == {"kind": "end", "messages": 600}
    with transaction() as tx:
        assert len(tx.scalars(select(Message.id)).all()) == 610
    assert json.dumps(rest)
