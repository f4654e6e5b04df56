"""What is in a database, table by table, as counts and hashes: how a copy is held against the original."""

from collections.abc import Callable
from typing import Any, Final

LEFT_OUT: Final = ("logins",)
"""Tables whose rows no backup carries: people sign in anew after a restore."""

_TABLES: Final = """
    select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relkind = 'r' order by c.relname
"""
_SETTINGS: Final = (
    "set local timezone = 'UTC'",
    "set local datestyle = 'ISO'",
    "set local bytea_output = 'hex'",
    "set local extra_float_digits = 1",
    "set local statement_timeout = 0",
)
"""Rows are compared as text: it has to be the same text everywhere."""
_PRINT: Final = """
    select count(*),
           coalesce(sum(('x' || encode(substr(sha256(convert_to(t::text, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint), 0)
    from {table} t
"""
"""A sum of each row's hash: the same in any order of rows, and without a sort however many there are."""

Prints = dict[str, list[Any]]
"""Table → [rows, hash]."""


def prints(connection: Any, progress: Callable[[float], None] = lambda _: None) -> Prints:
    """Return count and hash of every table, partitions each by itself, as the connection's transaction sees them."""
    with connection.cursor() as cursor:
        for line in _SETTINGS:
            cursor.execute(line)
        cursor.execute(_TABLES)
        tables = [name for (name,) in cursor.fetchall() if name not in LEFT_OUT]
        found: Prints = {}
        for number, table in enumerate(tables):
            cursor.execute(_PRINT.format(table='"' + table.replace('"', '""') + '"'))
            rows, total = cursor.fetchone()
            found[table] = [int(rows), str(total)]
            progress((number + 1) / len(tables))
    return found


def differences(wanted: Prints, found: Prints) -> list[str]:
    """Return what is not as it should be, a line a table."""
    lines = []
    for table in sorted({*wanted, *found}):
        if table not in found:
            lines.append(f"{table} is missing")
        elif table not in wanted:
            lines.append(f"{table} should not be there")
        elif wanted[table] != found[table]:
            rows = f"{found[table][0]} rows instead of {wanted[table][0]}"
            lines.append(f"{table}: {rows if found[table][0] != wanted[table][0] else 'other contents'}")
    return lines
