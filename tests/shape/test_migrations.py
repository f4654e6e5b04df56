"""Migrations: up from nothing, down to nothing, one head, and the tables are the models."""

import secrets
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from alembic import command
from app.core import migrate
from app.core.models import Base
from tests.support.servers import Servers


@pytest.fixture
def empty(servers: Servers) -> Iterator[str]:
    """An empty database beside the others."""
    name = f"m{secrets.token_hex(4)}"
    url = servers.settings.database_url
    with closing(psycopg2.connect(servers.settings.dsn)) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"create database {name}")
        yield url.rpartition("/")[0] + f"/{name}"
        connection.cursor().execute(f"drop database {name} with (force)")


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_up_from_nothing_and_down_to_nothing(empty: str) -> None:
    assert tables(empty) == set()
    migrate.upgrade(empty)
    assert tables(empty) == set(Base.metadata.tables) | {"alembic_version"}
    migrate.upgrade(empty)
    migrate.downgrade(empty)
    assert tables(empty) == {"alembic_version"}
    assert migrate.current(empty) is None
    migrate.upgrade(empty)
    assert migrate.current(empty) == head()


def test_the_tables_are_the_models(empty: str) -> None:
    migrate.upgrade(empty)
    command.check(migrate.config(empty))


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(migrate.config("")).get_heads()) == 1


def head() -> str | None:
    return ScriptDirectory.from_config(migrate.config("")).get_current_head()


def test_what_people_write_lies_in_bytes() -> None:
    """No column of plain text may hold a prompt, a reply, a title, a reason or a wish in words."""
    for table, column in (("messages", "body"), ("sessions", "title"), ("turns", "reason"), ("turns", "form")):
        assert Base.metadata.tables[table].c[column].type.python_type is bytes


def test_every_foreign_key_is_indexed() -> None:
    """Deleting a user or a session would otherwise read whole tables."""
    for table in Base.metadata.tables.values():
        first = {next(iter(index.columns)).name for index in table.indexes}
        first |= {next(iter(constraint.columns)).name for constraint in table.constraints if len(constraint.columns)}  # type: ignore[attr-defined]
        for key in table.foreign_keys:
            assert key.parent.name in first, f"{table.name}.{key.parent.name}"
