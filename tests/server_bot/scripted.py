"""A node's bot that does what the test says: an unmodified discord.py client, and frames written by hand."""

import asyncio
import hashlib
import io
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import discord
import orjson

from app.core import keys
from app.wire.frames import ATTACHMENT, NO_TURN, Frame, FrameKind, content, parse_content
from app.wire.jobs import Job, Outcome
from app.wire.states import TurnState
from tests.support.waiting import PATIENCE


class ScriptedNode(discord.Client):
    """Hears the frames that are for it, and posts what it is told."""

    def __init__(self, name: str, guild: int) -> None:
        super().__init__(intents=discord.Intents(guilds=True, guild_messages=True), guild_ready_timeout=0.1)
        self.name = name
        self.home = guild
        self.keys = keys.node(name)
        self.server = 0
        self.heard: list[tuple[int, Frame]] = []
        self._frames: asyncio.Queue[tuple[int, Frame]] = asyncio.Queue()

    async def on_message(self, message: discord.Message) -> None:
        assert self.user is not None
        if message.author.id == self.user.id:
            return
        found = parse_content(message.content)
        if found is None or found[0] != self.user.id:
            return
        self.server = message.author.id
        envelope = found[1]
        if envelope is None:
            assert message.attachments[0].filename == ATTACHMENT
            envelope = (await message.attachments[0].read()).decode()
        frame = Frame.open(envelope, self.keys, message.channel.id, from_node=False)
        self.heard.append((message.channel.id, frame))
        self._frames.put_nowait((message.channel.id, frame))

    async def hear(self, kind: FrameKind) -> tuple[int, Frame]:
        """Return the next frame of a kind; others are let go."""
        async with asyncio.timeout(PATIENCE):
            while True:
                channel, frame = await self._frames.get()
                if frame.kind is kind:
                    return channel, frame

    async def post(self, channel: int, frame: Frame, seal_for: int | None = None) -> discord.Message:
        """Post a frame, sealed for that channel or for another one."""
        return await self.raw(channel, frame.seal(self.keys, seal_for or channel))

    async def raw(self, channel: int, envelope: str) -> discord.Message:
        """Post whatever it is."""
        place: Any = self.get_partial_messageable(channel, guild_id=self.home)
        allowed = discord.AllowedMentions(everyone=False, roles=False, users=[discord.Object(self.server)])
        text = content(self.server, envelope)
        if text is None:
            file = discord.File(io.BytesIO(envelope.encode()), ATTACHMENT)
            sent: discord.Message = await place.send(f"<@{self.server}>", file=file, allowed_mentions=allowed)
        else:
            sent = await place.send(text, allowed_mentions=allowed)
        return sent

    def control(self) -> int:
        """The channel in which it is spoken to."""
        guild = self.get_guild(self.home)
        here = guild.text_channels if guild is not None else []
        return next((one.id for one in here if one.name == f"node-{self.name}"), 0)

    async def hello(self, state: str = "ready", slots: int = 2) -> None:
        """Say what it is."""
        said = {"model": "scripted", "slots": slots, "busy": 0, "state": state, "tokens_per_second": 50, "version": "1"}
        await self.post(self.control(), Frame(FrameKind.HELLO, body=orjson.dumps(said)))

    async def prompt(self) -> "Reply":
        """Wait for a prompt, and take it up."""
        channel, frame = await self.hear(FrameKind.PROMPT)
        return Reply(self, channel, frame)


class Reply:
    """One attempt of the scripted node."""

    def __init__(self, node: ScriptedNode, channel: int, prompt: Frame) -> None:
        self.node, self.channel, self.turn, self.attempt = node, channel, prompt.turn, prompt.attempt
        self.job = Job(**orjson.loads(prompt.body))
        self.text = self.job.prefix

    @property
    def at(self) -> int:
        return len(self.text.encode())

    async def started(self, at: int | None = None) -> discord.Message:
        return await self.node.post(self.channel, self.frame(FrameKind.STARTED, at or self.at, b'{"left_out": 0}'))

    async def say(self, *pieces: str) -> None:
        for piece in pieces:
            await self.node.post(self.channel, self.delta(piece))

    def delta(self, piece: str) -> Frame:
        """Write a piece, and return the frame that says so without posting it."""
        frame = self.frame(FrameKind.DELTA, self.at, piece.encode())
        self.text += piece
        return frame

    async def end(self, state: TurnState = TurnState.DONE, **more: Any) -> discord.Message:
        return await self.node.post(self.channel, self.ending(state, **more))

    def ending(self, state: TurnState = TurnState.DONE, **more: Any) -> Frame:
        facts: dict[str, Any] = {"model": "scripted", "prompt_tokens": 3, "completion_tokens": 2, "total_ms": 900.0}
        body = asdict(Outcome.of(self.turn, self.attempt, state, self.text, **(facts | more)))
        del body["text"]
        assert body["sha256"] == hashlib.sha256(self.text.encode()).hexdigest()
        return self.frame(FrameKind.END, self.at, orjson.dumps(body))

    def frame(self, kind: FrameKind, at: int = 0, body: bytes = b"") -> Frame:
        return Frame(kind, self.turn, self.attempt, at, body)

    async def again(self, at: int) -> None:
        """Send the text from a byte on once more, and the end."""
        whole = self.text.encode()
        await self.node.post(self.channel, self.frame(FrameKind.DELTA, at, whole[at:]))
        await self.end()


def stray(kind: FrameKind) -> Frame:
    """A frame of a turn that nobody knows."""
    return Frame(kind, str(uuid4()) if kind is not FrameKind.HELLO else str(NO_TURN), 1)
