"""A turn that a program waits for: its text as it comes, in one piece however many nodes write it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from app.core import keys, redis
from app.services import dispatch, turns
from app.stream.follow import Follower
from app.stream.hub import Hub
from app.stream.telling import Telling
from app.web.openai_errors import TurnFailed
from app.wire.errors import MeatLizardError, NotFound
from app.wire.events import Event
from app.wire.jobs import REFUSED, TOO_LONG
from app.wire.states import EventKind

log = structlog.get_logger(__name__)

REWRITTEN: Final = "The reply was lost and begun anew, and no longer fits what was sent. Ask again."


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing to show yet: the place in the queue and the seconds left, where they are known."""

    position: int | None = None
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class End:
    """The reply is whole, or was stopped."""

    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int


Step = Waiting | Text | End


class ApiTurn:
    """Follows one turn for one request."""

    def __init__(self, turn: str, session: str, user: str, hub: Hub, client: Redis) -> None:
        self.turn: Final = turn
        self.ended = False
        """Whether the turn has: one that has not when its client leaves is to be stopped."""
        self._user: Final = user
        follower = Follower(client, hub, lambda author, of, attempt: keys.events(author, session, of, attempt))
        self._telling: Final = Telling(turn, follower, turns.ending, turns.reply, dispatch.place)
        self._sent = bytearray()
        """What the client has; nothing of it can be taken back."""

    async def steps(self) -> AsyncGenerator[Step, None]:
        """Yield what is new until the turn has ended; raise TurnFailed where it came to nothing."""
        async with contextlib.aclosing(self._telling.events()) as events:
            async for event in events:
                match event.kind:
                    case EventKind.QUEUED:
                        yield Waiting(event.data.get("position"), event.data.get("eta"))
                    case EventKind.DELTA:
                        if piece := self._fresh(event):
                            yield Text(piece)
                    case EventKind.FAILED:
                        self.ended = True
                        raise _failure(event.data)
                    case EventKind.DONE | EventKind.CANCELLED:
                        self.ended = True
                        if piece := self._fresh(event):
                            yield Text(piece)
                        used = event.data.get("usage") or {}
                        counts = used.get("prompt_tokens") or 0, used.get("completion_tokens") or 0
                        yield End(event.data.get("finish_reason"), *counts)

    async def whole(self) -> tuple[str, End]:
        """Return the reply once it is there."""
        async with contextlib.aclosing(self.steps()) as steps:
            async for step in steps:
                if isinstance(step, End):
                    return self._sent.decode(errors="replace"), step
        raise NotFound  # A telling ends with an end.

    async def stop(self) -> None:
        """End the turn: nobody waits for it any more."""
        try:
            await asyncio.to_thread(turns.stop, self.turn, self._user)
        except (MeatLizardError, *redis.ERRORS) as error:
            log.warning("api.not_stopped", turn=self.turn, error=str(error))

    def _fresh(self, event: Event) -> str:
        """Return what the client has not got yet; raise TurnFailed where what it has is not the reply any more."""
        text, have = self._telling.text, len(self._sent)
        if event.kind is EventKind.DELTA and event.at == have:
            piece = (event.text or "").encode()  # As ever.
        else:
            # Redis has lost what was written, and it was begun anew; or the stream is gone and PostgreSQL has the rest.
            if not text.startswith(self._sent[: len(text)]):
                raise TurnFailed(REWRITTEN, refused=False, code="rewritten")
            piece = bytes(text[have:])
        self._sent += piece
        return piece.decode(errors="replace")


def _failure(facts: Mapping[str, Any]) -> TurnFailed:
    why, reason = facts.get("finish_reason"), facts.get("reason") or "The turn failed."
    code = "context_length_exceeded" if why == TOO_LONG else "turn_failed"
    return TurnFailed(reason, refused=why in (TOO_LONG, REFUSED), code=code)
