"""What a node's frames do: they become the turn's events, end it, or are answered where something is missing."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import orjson
import structlog
from redis.asyncio import Redis

from app.core import keys
from app.core.functions import call_async
from app.services import nodes, relay
from app.services.channels import Place
from app.services.relay import Standing
from app.stream.relayed import Relayed, Taken
from app.wire.errors import EnvelopeError
from app.wire.events import Sealer
from app.wire.frames import Frame, FrameKind
from app.wire.states import Verdict
from bots.server.frames import Refused
from bots.server.inbox import Missing

log = structlog.get_logger(__name__)

AGAIN_SECONDS: Final = 5.0
"""The same answer is not sent to a node more often than this: it is given the time to act on the first."""
RELAID: Final = 2
"""Times that a reply is asked for from byte 0 because its text is not what its hash says."""

Answer = Callable[[int, str, Frame, str], Coroutine[Any, Any, None]]
"""Posts a frame to a node in a channel: channel, node, frame, and what makes this post one of a kind."""


class Replies:
    """Takes in the frames of every node; keeps no place of its own, so that two of them at once do no harm."""

    def __init__(self, redis: Redis, answer: Answer) -> None:
        self._redis: Final = redis
        self._answer: Final = answer
        self._posting: Final[set[asyncio.Task[None]]] = set()
        self._answered: Final[dict[tuple[Any, ...], float]] = {}
        self._relaid: Final[dict[tuple[str, int], int]] = {}

    async def take(self, place: Place, channel: int, message: int, node: str, frame: Frame, *, last: bool, live: bool) -> None:
        """Act on a frame that came as `message`; raise Missing where something before it has not come, unless `last`."""
        if frame.kind is FrameKind.HELLO:
            # What a node said of itself long ago says nothing of it now.
            if live:
                await asyncio.to_thread(_hello, node, _json(frame.body))
        elif frame.kind is FrameKind.PONG:
            log.info("node.pong", node=node, number=frame.at)
        else:
            await self._turn(place, channel, message, node, frame, last=last)

    async def _turn(self, place: Place, channel: int, message: int, node: str, frame: Frame, *, last: bool) -> None:
        standing = await asyncio.to_thread(relay.standing, frame.turn)
        if standing is None:
            self._reply(channel, node, FrameKind.CLOSED, frame, 0, "gone")
            return
        if standing.session != place.session:
            raise Refused("session")
        if not standing.runs(frame.attempt, node):
            self._overtaken(channel, node, frame, standing)
            raise Refused("ended" if standing.state.final else "old_attempt", suspicious=False)
        ring = keys.events(node, standing.session, frame.turn, frame.attempt)
        relayed = Relayed(partial(call_async, self._redis), Sealer(ring, frame.turn, frame.attempt, node))
        taken = await self._apply(relayed, frame)
        if taken.verdict is Verdict.UNKNOWN:
            # Redis has lost the turn; the node has its whole text.
            await relayed.anew()
            self._reply(channel, node, FrameKind.RESEND, frame, 0, message)
            return
        if taken.verdict in (Verdict.STALE, Verdict.CLOSED):
            self._overtaken(channel, node, frame, standing)
            return
        if taken.verdict is Verdict.STOP and frame.kind is not FrameKind.END:
            self._reply(channel, node, FrameKind.STOP, frame, 0, "stop")
        if taken.have < frame.at or (taken.have < 0 and frame.kind is not FrameKind.STARTED):
            if not last:
                raise Missing
            await self._mend(relayed, channel, message, node, frame, taken)
        elif frame.kind is FrameKind.END:
            await self._end(relayed, channel, message, node, frame, standing)
        elif not taken.new and (frame.body or frame.kind is FrameKind.STARTED):
            # Said again by the node itself, because it was asked to or could not know; a frame without text is a sign of life.
            raise Refused("repeated", suspicious=False)

    async def _apply(self, relayed: Relayed, frame: Frame) -> Taken:
        if frame.kind is FrameKind.STARTED:
            return await relayed.started(frame.at, int(_json(frame.body).get("left_out") or 0))
        if frame.kind is FrameKind.DELTA:
            try:
                return await relayed.delta(frame.at, frame.body.decode())
            except UnicodeDecodeError as error:
                raise Refused("malformed") from error
        if frame.kind is FrameKind.END:
            return await relayed.ask()
        raise Refused("malformed")

    async def _mend(self, relayed: Relayed, channel: int, message: int, node: str, frame: Frame, taken: Taken) -> None:
        """Ask for what the history does not have either."""
        if taken.have < 0:
            # Not even its beginning came: it is begun at byte 0, and the whole reply asked for.
            await relayed.started(0, 0)
        have = max(0, taken.have)
        log.info("frames.missing", turn=frame.turn, attempt=frame.attempt, have=have, at=frame.at)
        self._reply(channel, node, FrameKind.RESEND, frame, have, message)

    async def _end(
        self, relayed: Relayed, channel: int, message: int, node: str, frame: Frame, standing: Standing
    ) -> None:
        try:
            whole = await asyncio.to_thread(
                relay.finish, frame.turn, frame.attempt, node, standing.session, frame.body
            )
        except EnvelopeError as error:
            raise Refused("malformed") from error
        if whole:
            self._relaid.pop((frame.turn, frame.attempt), None)
            self._reply(channel, node, FrameKind.CLOSED, frame, 0, "closed")
            return
        tried = self._relaid[frame.turn, frame.attempt] = self._relaid.get((frame.turn, frame.attempt), 0) + 1
        log.warning("reply.differs", turn=frame.turn, attempt=frame.attempt, node=node, tried=tried)
        if tried > RELAID:
            why = f"What the node {node} sent was not whole, three times over."
            await asyncio.to_thread(relay.cut_off, frame.turn, frame.attempt, standing.session, why)
            return
        await relayed.anew()
        self._reply(channel, node, FrameKind.RESEND, frame, 0, message)

    def _overtaken(self, channel: int, node: str, frame: Frame, standing: Standing) -> None:
        """Tell a node that writes for nobody: its outcome is known, or another attempt has taken over."""
        if frame.kind is FrameKind.END or (standing.state.final and standing.attempt == frame.attempt):
            self._reply(channel, node, FrameKind.CLOSED, frame, 0, "closed")
        else:
            self._reply(channel, node, FrameKind.STOP, frame, 0, "stop")

    def _reply(self, channel: int, node: str, kind: FrameKind, frame: Frame, at: int, why: object) -> None:
        """Answer off the path: reading goes on while Discord's limits let the answer wait."""
        answer, now = (kind, frame.turn, frame.attempt, at), time.monotonic()
        for old in [one for one, since in self._answered.items() if now - since > AGAIN_SECONDS]:
            del self._answered[old]
        if answer in self._answered:
            return
        self._answered[answer] = now
        task = asyncio.create_task(
            self._answer(channel, node, Frame(kind, frame.turn, frame.attempt, at), f"{why}"), name=f"answer-{kind.name}"
        )
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)


def _hello(node: str, said: dict[str, Any]) -> None:
    nodes.hello(node, said)
    if isinstance(told := said.get("refused"), dict):
        relay.refused_at(node, told)


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise Refused("malformed") from error
    if not isinstance(found, dict):
        raise Refused("malformed")
    return found
