"""Statements that PostgreSQL plans once for each connection, where planning takes longer than running."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, Row

_TYPED: Final = re.compile(r"cast\(:(\w+) as ([\w\[\]]+)\)")
_NAMED: Final = re.compile(r"(?<!:):(\w+)")
_MADE: Final = "meatlizard.prepared"
"""Where a connection keeps the names of what was prepared on it; goes with it."""


class Statement:
    """One statement; each parameter's type is said once, as in `cast(:turn as uuid[])`. ValueError where one's is not."""

    def __init__(self, text: str) -> None:
        types = dict(_TYPED.findall(text))
        order = list(dict.fromkeys(_NAMED.findall(text)))
        if untyped := [name for name in order if name not in types]:
            # PostgreSQL would have to guess it when it prepares, and refuses where it cannot.
            first, told = untyped[0], ", ".join(f":{name}" for name in untyped)
            raise ValueError(f"No type is said for {told}: write cast(:{first} as type), such as cast(:{first} as uuid), once.")
        places = {name: f"${at}" for at, name in enumerate(order, start=1)}
        body = _NAMED.sub(lambda found: places[found[1]], text).replace("%", "%%")  # The driver takes it for its own.
        self._name: Final = f"ml_{sha256(text.encode()).hexdigest()[:16]}"
        kinds = [types[name] for name in order]
        given = [f"cast(%({name})s as {types[name]})" for name in order]
        self._prepare: Final = f"prepare {self._name} {_listed(kinds)} as {body}"
        self._execute: Final = f"execute {self._name} {_listed(given)}"

    def run(self, connection: Connection, words: Mapping[str, Any]) -> list[Row[Any]]:
        """Return the rows; a connection's first run of it takes a round trip more."""
        made: set[str] = connection.info.setdefault(_MADE, set())
        if self._name not in made:
            connection.exec_driver_sql(self._prepare)
            made.add(self._name)
        return list(connection.exec_driver_sql(self._execute, dict(words)))


def _listed(words: list[str]) -> str:
    return f"({', '.join(words)})" if words else ""
