"""A PostgreSQL that takes every byte and never answers: it is away like one that is not there, and nobody waits for ever."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from app.core import db, pgtools, plain, silence
from app.core.config import settings
from app.core.prepared import Statement
from app.wire.errors import Unavailable
from tests.faults import proxy
from tests.faults.proxy import Wire
from tests.outages.conftest import Wires
from tests.support.waiting import PATIENCE

ONE = text("select 1")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let silence be noticed soon, and by nobody but the platform."""
    monkeypatch.setattr(silence, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(silence, "CONNECT_SECONDS", 3.0)
    monkeypatch.setitem(plain.CONNECT_ARGS, "connect_timeout", 3)
    monkeypatch.setattr(proxy, "KEEPALIVE_SECONDS", 10 * PATIENCE)
    yield
    db.engine().dispose()


def in_a_transaction(silenced: Callable[[], None]) -> None:
    with db.transaction() as tx:
        tx.execute(ONE)
        silenced()
        tx.execute(ONE)


def at_its_commit(silenced: Callable[[], None]) -> None:
    with db.transaction() as tx:
        tx.execute(ONE)
        silenced()


def in_one_statement(silenced: Callable[[], None]) -> None:
    db.single(Statement("select 1"), {})
    silenced()
    db.single(Statement("select 1"), {})


def without_sqlalchemy(silenced: Callable[[], None]) -> None:
    with plain.transaction() as cursor:
        cursor.execute("select 1")
        silenced()
        cursor.execute("select 1")


@pytest.mark.parametrize("asking", [in_a_transaction, at_its_commit, in_one_statement, without_sqlalchemy])
async def test_silence_is_being_away(wires: Wires, asking: Callable[[Callable[[], None]], None]) -> None:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unavailable):
            await asyncio.to_thread(asking, lambda: wires.postgres.become(Wire.DEAF))
        wires.postgres.become(Wire.WHOLE)
        await asyncio.to_thread(asking, lambda: None)


async def test_what_takes_long_is_waited_for_while_the_server_answers_others(wires: Wires) -> None:
    def long() -> int:
        with pgtools.connected(settings().database_url.get_secret_value()) as connection, connection.cursor() as cursor:
            cursor.execute("select pg_sleep(0.6)")
            return int(cursor.rowcount)

    assert await asyncio.to_thread(long) == 1
    assert wires.postgres.asked > 1, "it was asked whether it is there"


async def test_one_dead_connection_to_a_living_server_is_given_up(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "BOUND_SECONDS", 0.3)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unavailable):
            await asyncio.to_thread(in_a_transaction, lambda: wires.postgres.become(Wire.HALF_OPEN))
