"""Statements are planned once for each connection, and anew where their tables have changed."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from app.core.db import single, transaction
from app.core.prepared import Statement
from tests.support.servers import Servers

PLANS = Statement("select generic_plans, custom_plans from pg_prepared_statements where statement like cast(:like as text)")


@pytest.fixture
def table(servers: Servers) -> Iterator[str]:
    """A table of one row, there for everybody."""
    with transaction() as tx:
        tx.execute(text("create table tried (id int primary key, word text)"))
        tx.execute(text("insert into tried values (1, 'one')"))
    yield "tried"
    with transaction() as tx:
        tx.execute(text("drop table tried"))


def test_it_is_planned_once(table: str) -> None:
    named = Statement("select word from tried where id = cast(:id as int) and (id = :id or word = cast(:word as text)) and word like '%n%'")
    for _ in range(8):
        assert [row.word for row in single(named, {"id": 1, "word": "two"})] == ["one"]
    [row] = single(PLANS, {"like": "%from tried where%"})
    assert (row.generic_plans, row.custom_plans) == (8, 0)


def test_arrays_and_nothing_keep_their_kinds(servers: Servers) -> None:
    given = Statement("select unnest(cast(:ids as uuid[])) as id, cast(:body as bytea) as body, unnest(cast(:words as text[])) as word")
    [row] = single(given, {"ids": [None], "body": b"\0'\\x", "words": ["100 % of :it"]})
    assert (row.id, bytes(row.body), row.word) == (None, b"\0'\\x", "100 % of :it")
    assert single(given, {"ids": [], "body": None, "words": []}) == []


def test_a_table_may_change_under_it(table: str) -> None:
    whole = Statement("select * from tried where id = cast(:id as int)")
    [before] = single(whole, {"id": 1})
    with transaction() as tx:
        tx.execute(text("alter table tried add column more int default 7"))
    [after] = single(whole, {"id": 1})
    assert (len(before), after.more) == (2, 7)


def test_a_parameter_without_its_type_is_named_where_the_statement_is_made() -> None:
    with pytest.raises(ValueError, match=r"for :word, :more: write cast\(:word as type\)"):
        Statement("select id from tried where id = cast(:id as int) and word = :word and more = :more and id::text <> ''")
