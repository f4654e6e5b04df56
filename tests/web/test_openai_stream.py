"""An answer as server-sent events lets go of the turn it follows, whatever ended it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from app.web.openai_stream import EventStream
from app.web.openai_turn import End, Step, Text


class Turn:
    """A turn that tells whether it is still followed."""

    ended = True

    def __init__(self, *, whole: bool) -> None:
        self.followed, self.whole = False, whole

    async def steps(self) -> AsyncGenerator[Step, None]:
        self.followed = True
        try:
            yield Text("One")
            if not self.whole:
                await asyncio.Event().wait()
            yield End("stop", 1, 1)
        finally:
            await asyncio.sleep(0)  # As whoever gives back a subscription: nothing that a garbage collector could do.
            self.followed = False


@contextlib.asynccontextmanager
async def visit() -> Any:
    yield asyncio.Event()


@pytest.mark.parametrize("whole", [True, False])
async def test_a_turn_is_followed_no_longer_than_its_answer_is_written(whole: bool) -> None:
    turn: Any = Turn(whole=whole)
    shape: Any = SimpleNamespace(first=dict, text=lambda text: {"text": text}, last=lambda _: {}, usage=lambda _: {})
    heard = asyncio.Event()
    kept = turn.steps
    made = []
    turn.steps = lambda: made.append(kept()) or made[0]  # Somebody else holds it too: no count of references ends it.

    async def receive() -> Any:
        await heard.wait()
        if whole:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if b"One" in message.get("body", b""):
            heard.set()

    stream = EventStream(turn, shape, visit(), with_usage=False)
    await stream({"type": "http"}, receive, send)
    for _ in range(5):
        await asyncio.sleep(0)  # What was cancelled comes to its end.
    assert made[0].ag_frame is None
    assert not turn.followed
