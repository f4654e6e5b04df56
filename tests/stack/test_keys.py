"""Another master key while people chat: no turn is lost, and the old key opens nothing that is kept."""

import json
import threading
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from dotenv import dotenv_values

from app.wire.envelope import Ring
from app.wire.errors import EnvelopeForged
from tests.support.stack import Stack


def test_rotated_under_load(stack: Stack) -> None:
    old = keys(stack)
    answers: list[dict[str, Any]] = []
    over = threading.Event()

    def chat() -> None:
        while not over.is_set():
            answers.append(stack.ask("Say a word."))

    people = [threading.Thread(target=chat) for _ in range(2)]
    for person in people:
        person.start()
    try:
        done = json.loads(stack.run("keys", "rotate", "--json").stdout)
    finally:
        over.set()
        for person in people:
            person.join()
    assert done["phase"] == "done"
    assert answers
    assert [answer.get("state") for answer in answers] == ["done"] * len(answers)
    assert stack.ask("Say a word.")["state"] == "done"
    new = keys(stack)
    assert not set(old.keys) & set(new.keys)
    assert len(new.keys) == 1
    for session, body in kept(stack):
        with pytest.raises(EnvelopeForged):
            old.derive("rest", session).open(body)
        assert new.derive("rest", session).open(body)


def test_a_node_started_again_has_the_key_it_was_handed(stack: Stack) -> None:
    stack.kill("node")
    assert stack.ask("Say a word.")["state"] == "done"


def keys(stack: Stack) -> Ring:
    return Ring.parse(dotenv_values(stack.home / "meatlizard.env")["MEATLIZARD_KEYS"] or "")


def kept(stack: Stack) -> list[tuple[str, bytes]]:
    with psycopg2.connect(stack.status()["services"]["postgres"]) as connection, connection.cursor() as cursor:
        cursor.execute("select session_id, body from messages union all select id, title from sessions where title is not null")
        return [(str(UUID(session)), bytes(body)) for session, body in cursor.fetchall()]
