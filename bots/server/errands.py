"""What the tasks of queue `relay` ask for, on the loop: done when Discord has confirmed it."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

import discord
import structlog

from app.core import keys, redis
from app.core.models import now
from app.services import channels, links, relay
from app.wire import names
from app.wire.errors import EnvelopeError
from app.wire.events import PLATFORM
from app.wire.frames import NO_TURN, Frame, FrameKind
from app.wire.jobs import Job
from bots.server.bot import FORBIDDEN, ServerBot
from bots.server.frames import posted

log = structlog.get_logger(__name__)

NOTHING = str(NO_TURN)
NONCE_GOOD: Final = timedelta(seconds=60)
"""Discord knows a nonce for the past few minutes (Create Message); the broker brings a dead worker's task after 15."""
CLOCKS_DIFFER: Final = timedelta(minutes=10)
"""How far Discord's clock, by which messages are found, may be from ours."""
NO_BOT = "The node's bot in Discord is not known. Ask an administrator to enter its user id, then press Retry."


async def open_session(bot: ServerBot, session: str) -> None:
    """Open a session's channel before somebody needs it, unless the session was closed meanwhile."""
    if not await asyncio.to_thread(channels.wanted, session):
        return
    try:
        await bot.layout.session(session)
    except discord.Forbidden as error:
        log.error("discord.forbidden", session=session, error=str(error), hint=FORBIDDEN)


async def close_session(bot: ServerBot, session: str) -> None:
    """Remove a session's channel."""
    place = await asyncio.to_thread(channels.closed, session)
    if place is None:
        return
    try:
        await bot.layout.remove(place)
    except discord.Forbidden as error:
        log.error("discord.forbidden", session=session, error=str(error), hint=FORBIDDEN)
        return
    await asyncio.to_thread(channels.forget, place)


async def post_prompt(bot: ServerBot, turn: str, attempt: int, node: str, session: str, envelope: str) -> None:
    """Post a job to its node, unless its attempt is over by now."""
    standing = await asyncio.to_thread(relay.standing, turn)
    if standing is None or not standing.runs(attempt, node):
        log.info("prompt.dropped", turn=turn, attempt=attempt)
        return
    if await asyncio.to_thread(_posted, turn, attempt):
        return
    try:
        job = keys.node(node).to_node.derive("job").open(envelope.encode(), names.ENVELOPE_MAX_AGE_SECONDS)
        Job.open(envelope, keys.node(node), turn, attempt)
    except EnvelopeError as error:
        log.warning("prompt.refused", turn=turn, attempt=attempt, error=str(error))
        return
    if bot.bot_of(node) is None:
        await bot.learn_nodes()
    peer = bot.bot_of(node)
    if peer is None:
        log.error("node.unknown", node=node, hint=NO_BOT)
        await asyncio.to_thread(relay.cut_off, turn, attempt, session, NO_BOT)
        return
    try:
        await _in_channel(bot, session, peer, node, Frame(FrameKind.PROMPT, turn, attempt, 0, job))
    except discord.Forbidden as error:
        log.error("discord.forbidden", session=session, error=str(error), hint=FORBIDDEN)
        await asyncio.to_thread(relay.cut_off, turn, attempt, session, FORBIDDEN)
        return
    await asyncio.to_thread(_mark_posted, turn, attempt)


async def post_control(
    bot: ServerBot, kind: str, node: str, session: str | None = None, turn: str = NOTHING, attempt: int = 0, at: int = 0
) -> None:
    """Tell a node something: stop, resend or closed of a turn, or drain, ping or keys."""
    peer = bot.bot_of(node)
    if peer is None:
        log.error("node.unknown", node=node, hint=NO_BOT)
        return
    body = (await asyncio.to_thread(keys.hand_over, node)).encode() if kind == "keys" else b""
    frame = Frame(FrameKind[kind.upper()], turn, attempt, at, body)
    try:
        if session is None:
            await bot.post(await bot.layout.control(node, peer), node, peer, frame, at)
        else:
            await _in_channel(bot, session, peer, node, frame, at)
    except discord.Forbidden as error:
        log.error("discord.forbidden", node=node, error=str(error), hint=FORBIDDEN)


async def show_channels(bot: ServerBot, user: str, owner: int, sees: bool) -> None:
    """Let somebody see the channels of their sessions, or no longer, as their accounts are linked and unlinked.

    Whether they are is PostgreSQL's to say: a task can come from whoever can write to Redis.
    """
    if sees != await asyncio.to_thread(links.sees, user, owner):
        log.warning("channels.refused", user=user, owner=owner)
        return
    for place in await asyncio.to_thread(channels.of_user, user):
        try:
            await bot.layout.show(place, owner, sees=sees)
        except discord.Forbidden as error:
            log.error("discord.forbidden", session=place.session, error=str(error), hint=FORBIDDEN)


async def post_mirror(bot: ServerBot, turn: str) -> None:
    """Post the sealed record of a turn that went by the queue lane, once; no node can open it."""
    found = await asyncio.to_thread(relay.mirror, turn)
    if found is None or bot.user is None:
        return
    frame = Frame(FrameKind.MIRROR, turn, found.attempt, 0, found.record)
    try:
        if now() - found.since < NONCE_GOOD or not await _stands(bot, found.session, frame, found.since):
            await _in_channel(bot, found.session, bot.user.id, PLATFORM, frame)
    except discord.Forbidden as error:
        log.error("discord.forbidden", session=found.session, error=str(error), hint=FORBIDDEN)


async def _stands(bot: ServerBot, session: str, frame: Frame, since: datetime) -> bool:
    """Say whether a session's channel holds a mirror already: who posted it may have been killed before it said so."""
    channel = await bot.layout.session(session)
    if channel is None:
        return False
    async for message in channel.history(limit=None, after=since - CLOCKS_DIFFER, oldest_first=True):
        if bot.user is not None and message.author.id == bot.user.id:
            here = await posted(message)
            if here is not None and (here.kind, here.turn) == (frame.kind, frame.turn):
                return True
    return False


async def _in_channel(bot: ServerBot, session: str, peer: int, node: str, frame: Frame, *mark: object) -> None:
    """Post in a session's channel; where it was deleted behind our back, in a new one."""
    admitted = peer if node != PLATFORM else None
    channel = await bot.layout.session(session, admitted)
    if channel is None:
        return
    try:
        await bot.post(channel, node, peer, frame, *mark)
    except discord.NotFound:
        log.warning("channel.gone", channel=channel.id, session=session)
        bot.inbox.forget(channel.id)
        await asyncio.to_thread(channels.lost, channel.id)
        anew = await bot.layout.session(session, admitted)
        if anew is not None:
            await bot.post(anew, node, peer, frame, *mark)


def _posted(turn: str, attempt: int) -> bool:
    return bool(redis.client().hget(names.turn_meta(turn), "posted") == str(attempt).encode())


def _mark_posted(turn: str, attempt: int) -> None:
    # Discord knows a nonce for minutes only; the broker may deliver a task once more after that. The lease begins now.
    client = redis.client()
    seconds, micros = client.time()
    if client.exists(names.turn_meta(turn)):
        client.hset(names.turn_meta(turn), mapping={"posted": attempt, "seen": seconds * 1000 + micros // 1000})
