"""`/transcript`: whole, in its order, within Discord's limit for files, and flat in memory however long it is."""

import io
import random
import tracemalloc
import zipfile
from uuid import UUID, uuid4

import pytest

from app.core import keys
from app.core.db import transaction
from app.core.models import Message, Turn, new_id, now
from app.services import sessions
from app.wire.errors import NotFound
from app.wire.states import Door, TurnState
from bots.server.commands.transcript import written
from tests.support.people import Member

MOST = 200_000
"""Bytes that a file may have here; Discord's own limit is 10 MiB."""
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789      "


def spoken(member: Member, count: int, words: str, door: Door = Door.DISCORD) -> str:
    """Make a session of so many turns whose replies are these words, each with its number in front."""
    session = sessions.create(member.id).id
    ring = keys.rest(session)
    with transaction() as tx:
        for number in range(count):
            prompt, reply = new_id(), new_id()
            for identity, role, text in ((prompt, "user", f"Number {number}"), (reply, "assistant", f"{number}: {words}")):
                tx.add(Message(id=identity, session_id=UUID(session), role=role, body=ring.seal(text.encode())))
            tx.flush()
            tx.add(
                Turn(
                    session_id=UUID(session),
                    user_id=UUID(member.id),
                    client_id=uuid4(),
                    prompt_id=prompt,
                    reply_id=reply,
                    door=door.value,
                    state=TurnState.DONE.value,
                    finished_at=now(),
                )
            )
    return session


def test_a_short_one_is_whole_and_in_its_order(ada: Member, bob: Member) -> None:
    session = spoken(ada, 150, "Because.")
    made = written(session, ada.id, MOST)
    assert made is not None
    assert made.whole
    assert made.file.filename == f"conversation-{session[:8]}.md"
    said = made.file.fp.read().decode().splitlines()
    assert [line for line in said if line.startswith("Number")] == [f"Number {number}" for number in range(150)]
    assert [line for line in said if line.endswith("Because.")] == [f"{number}: Because." for number in range(150)]
    with pytest.raises(NotFound):
        written(session, bob.id, MOST)


def test_what_was_said_on_the_page_is_left_out(ada: Member) -> None:
    made = written(spoken(ada, 2, "Secret.", Door.WEB), ada.id, MOST)
    assert made is not None
    assert not made.whole
    said = made.file.fp.read().decode()
    assert "Secret" not in said
    assert "Number" not in said
    assert said.count("said on the page") == 4


def test_a_long_one_is_packed_and_read_a_few_messages_at_a_time(ada: Member) -> None:
    words = "the same few words again " * 400
    session = spoken(ada, 1000, words)  # 10 MB.
    written(spoken(ada, 1, words), ada.id, MOST)  # Whatever is made once and kept.
    tracemalloc.start()
    try:
        made = written(session, ada.id, MOST)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert made is not None
    assert made.whole
    assert made.file.filename.endswith(".zip")
    with zipfile.ZipFile(made.file.fp) as archive:
        (name,) = archive.namelist()
        said = archive.read(name).decode()
    assert all(f"\n{number}: the same" in said for number in range(1000))
    assert made.file.fp.seek(0, io.SEEK_END) <= MOST
    assert peak < 4_000_000, "a page of a hundred messages, and what the file may have"


def test_one_that_no_packing_helps_is_not_sent(ada: Member) -> None:
    noise = "".join(random.Random(1).choices(LETTERS, k=20_000))
    session = spoken(ada, 1, noise)
    with transaction() as tx:
        ring = keys.rest(session)
        for number in range(40):
            text = "".join(random.Random(number).choices(LETTERS, k=20_000))
            tx.add(Message(session_id=UUID(session), role="user", body=ring.seal(text.encode())))
            tx.flush()
            row = tx.query(Message).filter_by(session_id=UUID(session)).order_by(Message.id.desc()).first()
            assert row is not None
            tx.add(
                Turn(session_id=UUID(session), user_id=UUID(ada.id), client_id=uuid4(), prompt_id=row.id, door="discord")
            )
    assert written(session, ada.id, MOST) is None
