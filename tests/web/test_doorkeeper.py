"""Whoever has something open and is not welcome any more is found, also where nobody tells of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.services.person import Person
from app.web import doorkeeper
from app.web.doorkeeper import Doorkeeper
from app.wire.errors import NotSignedIn
from tests.support.waiting import PATIENCE

ADA = Person("00000000-0000-0000-0000-000000000001", "ada", "member")


class Chatter:
    """Tells without end of somebody else."""

    @contextlib.asynccontextmanager
    async def listen(self, _: str) -> AsyncIterator["Chatter"]:
        yield self

    async def get(self) -> bytes:
        await asyncio.sleep(0.01)
        return b"somebody-else"


async def test_what_runs_out_by_itself_is_seen_however_much_is_told_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = False

    async def person(_: Any) -> Person:
        if ended:
            raise NotSignedIn
        return ADA

    monkeypatch.setattr(doorkeeper, "person", person)
    monkeypatch.setattr(doorkeeper, "LOOK_SECONDS", 0.1)
    keeper: Any = Doorkeeper(Chatter())  # type: ignore[arg-type]
    keeping = asyncio.create_task(keeper.run())
    try:
        async with keeper.visit(None, ADA) as told:
            ended = True
            async with asyncio.timeout(PATIENCE):
                await told.wait()
    finally:
        keeping.cancel()
