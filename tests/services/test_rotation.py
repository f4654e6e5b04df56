"""Another master key: nothing fails meanwhile, and afterwards the old one opens nothing that is kept."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import LargeBinary, select

from app.core import keyfile, keys, objects, redis
from app.core.db import transaction
from app.core.models import AuditRecord, Base, KeyRotation, Message, Session, Turn
from app.local import scratch
from app.services import backups, joining, proof, reseal, reseal_objects, rotation, sessions, transcripts, turns
from app.wire import chunks, names
from app.wire.envelope import NodeKeys, Ring
from app.wire.errors import EnvelopeForged, NotAllowed
from app.wire.states import Door, TurnState
from tests.support import nodes
from tests.support.people import Member
from tests.support.servers import Servers

HASHES = {
    *("logins.token_hash", "api_tokens.token_hash", "audit_log.previous", "audit_log.hash"),
    *("discord_link_codes.code_hash", "discord_trees.digest", "invitations.code_hash"),
}
"""Bytes that are no sealed ones."""


@pytest.fixture(autouse=True)
def _same_key_as_before(servers: Servers) -> Iterator[None]:
    """The servers are shared by many tests, and so is their settings file."""
    before = keys.master()
    yield
    keyfile.write(before)


def answered(member: Member, state: TurnState = TurnState.DONE, **more: Any) -> str:
    session = member.session()
    member.ask(session, "A secret question")
    for job in nodes.jobs():
        nodes.finish(job, "A secret answer", state, **more)
    return session


def run(*, node: bool = False) -> rotation.Progress:
    """Rotate as the command does, the worker's part included; the node, if one is here, takes what it is handed."""
    rotation.begin("test", Door.CLI)
    for _ in range(20):
        if node:
            hold(keys.node("home").marks)
        found = rotation.advance()
        if found.phase == "done" or found.over and found.lagging:
            return found
        rotation.work()
    raise AssertionError(found)


def hold(marks: tuple[str, ...]) -> None:
    redis.client().hset(names.node_key("home"), "keys", " ".join(marks))


def sealed() -> list[tuple[str, str, bytes]]:
    """Everything that is kept sealed: what it is, of which session, and the bytes."""
    with transaction() as tx:
        found = [("body", str(row.session_id), row.body) for row in tx.scalars(select(Message))]
        found += [("title", str(row.id), row.title) for row in tx.scalars(select(Session)) if row.title]
        found += [("reason", str(row.session_id), row.reason) for row in tx.scalars(select(Turn)) if row.reason]
    return found


def test_the_old_key_opens_nothing_that_is_kept_and_the_new_one_all_of_it(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reseal, "BATCH", 2)
    nodes.ready()
    for _ in range(3):
        answered(ada)
    answered(ada, TurnState.FAILED, reason="It broke.")
    old = keys.master()
    before = sealed()
    assert {kind for kind, _, _ in before} == {"body", "title", "reason"}
    assert run(node=True).phase == "done"
    new = keys.master()
    assert len(new.keys) == 1
    assert not set(new.keys) & set(old.keys)
    after = sealed()
    assert len(after) == len(before)
    for _, session, body in after:
        with pytest.raises(EnvelopeForged):
            old.derive("rest", session).open(body)
        assert new.derive("rest", session).open(body)


def test_turns_begun_before_end_well_and_are_waited_for(ada: Member) -> None:
    nodes.ready(slots=1)
    session = ada.session()
    running, waiting = ada.ask(session).turn, ada.ask(session).turn
    [job] = nodes.jobs()
    hold(keys.node("home").marks)
    rotation.begin("test", Door.CLI)
    assert len(keys.master().keys) == 2
    for _ in range(4):
        hold(keys.node("home").marks)
        found = rotation.advance()
        rotation.work()
    assert (found.phase, found.waiting) == ("settle", 2)
    assert nodes.finish(job)
    [job] = nodes.jobs()
    assert job.turn == waiting
    assert nodes.finish(job)
    assert run(node=True).phase == "done"
    assert turns.reply(running) == turns.reply(waiting) == "Because."


def test_a_node_that_is_away_keeps_the_old_key_alive_and_nothing_else(ada: Member) -> None:
    nodes.ready()
    answered(ada)
    old = keys.master()
    hers = NodeKeys.of(old, "home")
    redis.client().delete(names.node_key("home"))
    found = run()
    assert (found.phase, found.lagging, found.here) == ("check", ("home",), False)
    for _, session, body in sealed():
        with pytest.raises(EnvelopeForged):
            old.derive("rest", session).open(body)
    # It comes back with what it had: it is given jobs that it can open, and handed the new keys.
    nodes.ready()
    hold(hers.marks)
    with redis.client().pubsub() as control:
        control.subscribe(names.node_control("home"))
        rotation.remind()
        said = [message for _ in range(3) if (message := control.get_message(timeout=5)) and message["type"] == "message"]
    command, _, envelope = said[0]["data"].decode().partition(" ")
    assert command == "keys"
    ada.ask(ada.session())
    hers.adopt(envelope)
    assert hers == NodeKeys.of(keys.master(), "home")
    hold(hers.marks)
    [job] = nodes.jobs()
    assert nodes.finish(job)
    assert run(node=True).phase == "done"
    assert not set(old.keys) & set(keys.master().keys)


def test_a_job_for_a_node_without_the_new_key_is_sealed_with_the_one_it_has(ada: Member) -> None:
    nodes.ready()
    hers = NodeKeys.of(keys.master(), "home")
    hold(hers.marks)
    rotation.begin("test", Door.CLI)
    rotation.advance(push_on=True)
    assert keys.node("home").marks[0] == hers.marks[0]
    assert NodeKeys.of(keys.master(), "home").marks[0] != hers.marks[0]
    assert hers.to_node.open(keys.node("home").to_node.seal(b"x")) == b"x"


def test_a_rotation_that_was_cut_off_goes_on_and_makes_no_second_key(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.ready()
    answered(ada)
    redis.client().delete(names.node_key("home"))
    with transaction() as tx:
        tx.execute(Base.metadata.tables["nodes"].delete())
    real, calls = keyfile.write, 0

    def cut_off(ring: Ring) -> None:
        nonlocal calls
        calls += 1
        if calls in (1, 3):
            raise KeyboardInterrupt
        real(ring)
        if calls == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(keyfile, "write", cut_off)
    seen: set[bytes] = set(keys.master().keys)
    for _ in range(10):
        try:
            found = run()
        except KeyboardInterrupt:
            seen |= set(keys.master().keys)
            continue
        if found.phase == "done":
            break
    assert found.phase == "done"
    assert len(seen | set(keys.master().keys)) == 2
    with transaction() as tx:
        assert [row.phase for row in tx.scalars(select(KeyRotation))] == ["done"]
        told = [row.action for row in tx.scalars(select(AuditRecord).order_by(AuditRecord.id))]
    assert told[-1] == "keys.retire"


def test_keys_from_the_environment_are_left_to_whoever_set_them(ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.ready()
    session = answered(ada)
    old = keys.master()
    monkeypatch.setenv(keys.SETTING, old.dump())
    with pytest.raises(NotAllowed, match="keys reseal"):
        rotation.begin("test", Door.CLI)
    assert sealed()[0][1] == session
    monkeypatch.delenv(keys.SETTING)


def test_what_a_page_writes_meanwhile_is_not_written_over(ada: Member) -> None:
    session = ada.session()
    ada.ask(session, "First title")
    rotation.begin("test", Door.CLI)
    rotation.advance(push_on=True)
    with transaction() as tx:
        row = tx.get_one(Session, UUID(session))
        stale = row.title
        sessions.set_title(row, "Second title")
    with transaction() as tx:
        place: dict[str, Any] | None = {}
        while place is not None:
            place, _, _ = reseal.step(tx, place)
        row = tx.get_one(Session, UUID(session))
        assert sessions.title(row) == "Second title"
        assert row.title != stale


def test_every_sealed_column_is_on_the_list() -> None:
    columns = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    listed = {f"{kept.table.__tablename__}.{kept.column}" for kept in reseal.KEPT}
    assert columns - HASHES == listed


def test_what_lies_in_the_object_store_is_sealed_anew_and_still_proven(ada: Member, servers: Servers) -> None:
    nodes.ready()
    session = answered(ada)
    transcripts.enqueue(session, "closed")
    transcripts.upload(session)
    backup = backups.begin("test", Door.CLI)
    backups.take(backup)
    old = keys.master()
    assert run(node=True).phase == "done"
    archive = Ring(old.derive("archive").keys)
    opened = 0
    for one in [*objects.listed("transcripts/"), *objects.listed("backups/")]:
        name = f"transcript/{session}" if one.key.startswith("transcripts/") else one.key.replace("backups/", "backup/").removesuffix(".sealed")
        with objects.reading(one.key) as body, pytest.raises(EnvelopeForged):
            list(chunks.unseal(body, archive, name))
        with objects.reading(one.key) as body:
            assert list(chunks.unseal(body, keys.archive(), name))
        opened += 1
    assert opened >= 3
    assert any(line.get("text") == "A secret answer" for line in transcripts.read(session))
    assert proof.prove(backup, scratch.cluster)["sound"]


def test_a_store_full_of_transcripts_is_not_listed_for_each_of_them(ada: Member) -> None:
    old = keys.archive()
    stored = [f"transcripts/{number}/state" for number in range(20)]
    for key in stored:
        objects.put(key, b"".join(chunks.seal([b"words"], old, f"transcript/{key.split('/')[1]}")))
    asked: list[str] = []
    objects.client().meta.events.register("before-call.s3.ListObjectsV2", lambda params, **_: asked.append(params["url_path"]))
    rotation.begin("test", Door.CLI)
    rotation.advance()
    asked.clear()
    moments = 1
    while rotation.work():
        moments += 1
    assert len(asked) <= 3 * moments, "once the backups, the notes of restores and the transcripts, each time that the worker takes it up"
    for key in stored:
        assert chunk_of(key, Ring(keys.archive().keys[:1])) == b"words"


def test_a_walk_goes_on_from_any_place_and_begins_anew_where_another_did(ada: Member) -> None:
    stored = [f"transcripts/{letter}/state" for letter in "abcd"]
    for key in stored:
        objects.put(key, b"x")
    objects.put("backups/20261123T000000Z-0001/manifest.sealed", b"x")
    walk = reseal_objects.Walk()
    assert [walk.after(name) for name in ("", "backups/20261123T000000Z-0001", stored[0])] == ["backups/20261123T000000Z-0001", *stored[:2]]
    assert walk.after(stored[2]) == stored[3], "another process was there meanwhile"
    assert walk.after(stored[0]) == stored[1]
    assert walk.after("") == "backups/20261123T000000Z-0001"
    assert reseal_objects.Walk().after(stored[1]) == stored[2]
    assert reseal_objects.Walk().after(stored[3]) is None
    objects.put("restores/ab.sealed", b"x")
    assert reseal_objects.Walk().after("backups/20261123T000000Z-0001") == "restores/ab.sealed"
    assert reseal_objects.Walk().after("restores/ab.sealed") == stored[0]


def test_after_a_theft_nothing_is_handed_over_and_nobody_on_redis_stops_it(ada: Member) -> None:
    nodes.ready()
    answered(ada)
    old = keys.master()
    forged = NodeKeys.of(old, "home").marks
    joining.remove("home", "test", Door.CLI)
    with redis.client().pubsub() as control:
        control.psubscribe(names.node_control("*"))
        rotation.begin("test", Door.CLI)
        for _ in range(20):
            hold(forged)  # As whoever has Redis and the stolen key would, again and again.
            if rotation.advance().phase == "done":
                break
            rotation.work()
        said = [message["data"] for _ in range(5) if (message := control.get_message(timeout=0.1)) and message["type"] == "pmessage"]
    assert not set(keys.master().keys) & set(old.keys), "it ended"
    assert not [one for one in said if b"keys" in one]


def chunk_of(key: str, ring: Ring) -> bytes:
    with objects.reading(key) as body:
        return b"".join(chunks.unseal(body, ring, f"transcript/{key.split('/')[1]}"))
