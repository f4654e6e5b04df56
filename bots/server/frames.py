"""From a message in Discord to the frame in it, and every reason not to believe one."""

import hashlib
from dataclasses import dataclass
from typing import Final

import discord
from redis.asyncio import Redis

from app.core import keys
from app.services.channels import Place
from app.wire import names
from app.wire.errors import EnvelopeError, EnvelopeTooOld
from app.wire.events import PLATFORM
from app.wire.frames import ATTACHMENT, MAX_AGE_SECONDS, SKEW_SECONDS, Frame, FrameKind, parse_content

ATTACHMENT_BYTES: Final = 1 << 20
"""What a node sends fits a message's text; an attachment over this is not looked at."""
CONTROL: Final = frozenset({FrameKind.HELLO, FrameKind.PONG})
KNOWN: Final = 20_000
"""Envelopes that a process remembers itself: an hour of five channels that are never silent."""
MARK_LENGTH: Final = 32
"""Hexadecimal digits of an envelope's hash that tell it from all others."""
KNOWN_SECONDS: Final = MAX_AGE_SECONDS + 2 * SKEW_SECONDS
"""Longer than any frame is believed: what is forgotten has its age against it."""


@dataclass
class Refused(Exception):
    """A message that is not believed."""

    reason: str
    suspicious: bool = True
    """Whether it looks like somebody's doing, rather than a message that came late or twice."""


class Seen:
    """The envelopes that were opened of late: each is sealed for one message, and is no good in another.

    Redis knows them for the Server-Bots that come after this one, or stand beside it; a Redis that was emptied does not.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis: Final = redis
        self._messages: Final[dict[str, int]] = {}

    async def elsewhere(self, envelope: str, message: int) -> bool:
        """Say whether it stood in another message before, and remember it; raise what Redis raises where it is away."""
        mark = hashlib.sha256(envelope.encode()).hexdigest()[:MARK_LENGTH]
        first = self._messages.get(mark)
        if first is None:
            before = await self._redis.set(names.envelope_seen(mark), message, nx=True, get=True, ex=KNOWN_SECONDS)
            first = self._messages[mark] = int(before or message)
        if len(self._messages) > KNOWN:
            del self._messages[next(iter(self._messages))]
        return first != message


async def read(
    place: Place, message: discord.Message, me: int, nodes: dict[int, str], seen: Seen
) -> tuple[str, Frame] | None:
    """Return the node that wrote a message and the frame in it; None where it is not for us; raise Refused."""
    found = parse_content(message.content)
    if found is None or found[0] != me:
        return None
    node = nodes.get(message.author.id)
    if node is None or message.webhook_id is not None:
        raise Refused("author")
    if place.node not in (None, node):
        raise Refused("channel")
    envelope = found[1] if found[1] is not None else await _attached(message)
    try:
        frame = Frame.open(envelope, keys.node(node), message.channel.id, from_node=True)
    except EnvelopeTooOld as error:
        raise Refused("too_old") from error
    except EnvelopeError as error:
        raise Refused("forged") from error
    if await seen.elsewhere(envelope, message.id):
        raise Refused("repeated")
    if (frame.kind in CONTROL) is not (place.node is not None):
        raise Refused("channel")
    return node, frame


async def posted(message: discord.Message) -> Frame | None:
    """Return what the platform posted for itself in a message; None for everything else."""
    found = parse_content(message.content)
    if found is None:
        return None
    try:
        envelope = found[1] if found[1] is not None else await _attached(message)
        return Frame.open(envelope, keys.node(PLATFORM), message.channel.id, from_node=False)
    except (EnvelopeError, Refused):
        return None


async def _attached(message: discord.Message) -> str:
    for attachment in message.attachments:
        if attachment.filename == ATTACHMENT and attachment.size <= ATTACHMENT_BYTES:
            return (await attachment.read()).decode("ascii", "replace")
    raise Refused("empty")
