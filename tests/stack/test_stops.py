"""Stop at each door: llama.cpp's own slots are free again, and the text so far is kept."""

import asyncio

import psycopg2
import pytest

from app.wire.envelope import Ring
from tests.stack.test_keys import keys
from tests.support.doors import DOORS
from tests.support.slots import Slots
from tests.support.stack import Stack
from tests.support.waiting import until, until_async


@pytest.mark.parametrize("door", DOORS)
async def test_stop_frees_the_slot_and_keeps_the_text(stack: Stack, door: str) -> None:
    slots = Slots.of(stack)
    await asyncio.to_thread(until, lambda: slots.busy() == 0)
    begun = DOORS[door](stack, stack.token())
    async with begun.writing():
        assert await asyncio.to_thread(slots.busy) == 1
        await begun.stop()
        await asyncio.to_thread(until, lambda: slots.busy() == 0)
        await begun.over()

    async def ended() -> tuple[str, str] | None:
        return await asyncio.to_thread(latest, stack, keys(stack))

    state, text = await until_async(ended) or ("", "")
    assert state == "cancelled"
    assert begun.seen
    assert text.startswith(begun.seen) if door == "API" else text == begun.seen
    await asyncio.to_thread(until, lambda: stack.status()["nodes"][0]["busy"] == 0)


def latest(stack: Stack, ring: Ring) -> tuple[str, str] | None:
    """How the newest turn ended, and the reply that is kept of it; None while it has not."""
    query = """select t.state, t.session_id, m.body from turns t left join messages m on m.id = t.reply_id
               order by t.created_at desc limit 1"""
    with psycopg2.connect(stack.status()["services"]["postgres"]) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        state, session, body = cursor.fetchone()
    if state in ("queued", "running"):
        return None
    return state, ring.derive("rest", str(session)).open(bytes(body)).decode() if body else ""
