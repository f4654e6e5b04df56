"""The platform as a test plays it: an unmodified discord.py client that posts frames and checks what comes back."""

import asyncio
import hashlib
import io
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import discord
import orjson

from app.wire.envelope import NodeKeys
from app.wire.frames import ATTACHMENT, NO_TURN, Frame, FrameKind, content, parse_content
from app.wire.jobs import Job
from tests.support.waiting import PATIENCE, until_async

NODE = "home"


@dataclass
class Said:
    """What the node has said about one attempt, in the order in which it came."""

    frames: list[Frame] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        return [frame.kind.name for frame in self.frames]

    @property
    def deltas(self) -> list[Frame]:
        return [frame for frame in self.frames if frame.kind is FrameKind.DELTA and frame.body]

    @property
    def text(self) -> str:
        """The reply, each byte said exactly once and in order."""
        whole = bytearray()
        for frame in self.deltas:
            assert frame.at == len(whole), f"{frame.at} after {len(whole)} bytes"
            whole += frame.body
        return whole.decode()

    @property
    def ends(self) -> list[dict[str, Any]]:
        return [orjson.loads(frame.body) for frame in self.frames if frame.kind is FrameKind.END]

    @property
    def end(self) -> dict[str, Any]:
        (end,) = self.ends
        return end


class Platform(discord.Client):
    """The Server-Bot."""

    def __init__(self, guild: int, keys: NodeKeys) -> None:
        super().__init__(intents=discord.Intents(guilds=True, guild_messages=True), guild_ready_timeout=0.01)
        self.home = guild
        self.keys = keys
        self.peer = 0
        self.control = 0
        self.heard: list[tuple[int, Frame, float]] = []
        self.hellos: list[dict[str, Any]] = []

    async def on_message(self, message: discord.Message) -> None:
        if message.author.id != self.peer:
            return
        found = parse_content(message.content)
        assert found is not None, message.content
        assert found[0] == self.user.id  # type: ignore[union-attr]
        assert [one.id for one in message.mentions] == [self.user.id]  # type: ignore[union-attr]
        envelope = found[1] or (await message.attachments[0].read()).decode()
        frame = Frame.open(envelope, self.keys, message.channel.id, from_node=True)
        self.heard.append((message.channel.id, frame, time.monotonic()))
        if frame.kind is FrameKind.HELLO:
            assert message.channel.id == self.control
            self.hellos.append(orjson.loads(frame.body))

    async def open(self, name: str) -> int:
        """Make a channel that only the two bots see."""
        guild = self.get_guild(self.home)
        assert guild is not None
        bots = discord.PermissionOverwrite(
            view_channel=True, send_messages=True, read_message_history=True, attach_files=True
        )
        overwrites: dict[Any, discord.PermissionOverwrite] = {
            guild.default_role: discord.PermissionOverwrite(view_channel=False),
            discord.Object(self.peer, type=discord.Member): bots,
            guild.me: bots,
        }
        return (await guild.create_text_channel(name, overwrites=overwrites)).id

    async def post(self, channel: int, frame: Frame) -> discord.Message:
        return await self.raw(channel, frame.seal(self.keys, channel))

    async def raw(self, channel: int, envelope: str) -> discord.Message:
        """Post whatever it is."""
        place: Any = self.get_partial_messageable(channel, guild_id=self.home)
        allowed = discord.AllowedMentions(everyone=False, roles=False, users=[discord.Object(self.peer)])
        text = content(self.peer, envelope)
        if text is not None:
            sent: discord.Message = await place.send(text, allowed_mentions=allowed)
        else:
            file = discord.File(io.BytesIO(envelope.encode()), ATTACHMENT)
            sent = await place.send(f"<@{self.peer}>", file=file, allowed_mentions=allowed)
        return sent

    async def ask(self, channel: int, words: str = "Why is the sky blue?", **more: Any) -> Job:
        """Post a prompt."""
        job = self.job(words, **more)
        await self.post(channel, prompt(job))
        return job

    def job(self, words: str = "Why is the sky blue?", **more: Any) -> Job:
        given: dict[str, Any] = {"turn": str(uuid4()), "attempt": 1, "session": str(uuid4())}
        messages = [{"role": "user", "content": words}]
        return Job(**(given | {"messages": messages, "leased_ms": int(time.time() * 1000)} | more))

    async def say(self, channel: int, kind: FrameKind, job: Job | None = None, at: int = 0) -> discord.Message:
        turn, attempt = (job.turn, job.attempt) if job else (str(NO_TURN), 0)
        return await self.post(channel, Frame(kind, turn, attempt, at))

    def said(self, job: Job, channel: int | None = None) -> Said:
        """What has come of an attempt so far."""
        found = Said()
        for where, frame, when in self.heard:
            if (frame.turn, frame.attempt) == (job.turn, job.attempt) and channel in (None, where):
                found.frames.append(frame)
                found.times.append(when)
        return found

    async def ended(self, job: Job, times: int = 1) -> Said:
        """Wait for the end of an attempt, and check it against the text."""
        await until(lambda: len(self.said(job).ends) >= times)
        return self.said(job)

    async def whole(self, job: Job) -> str:
        """Wait for a whole reply, and let the node go of it."""
        said = await self.ended(job)
        text = said.text
        assert said.end["state"] == "done", said.end
        assert said.end["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        # Not always the last to be read: what was attached to the one before takes a request more.
        end = next(frame for frame in said.frames if frame.kind is FrameKind.END)
        assert end.at == len(text.encode())
        return text

    def state(self) -> str:
        """What the node last said of itself."""
        return self.hellos[-1]["state"] if self.hellos else ""


def prompt(job: Job) -> Frame:
    """The frame of a job."""
    body = {name: getattr(job, name) for name in job.__slots__}
    return Frame(FrameKind.PROMPT, job.turn, job.attempt, 0, orjson.dumps(body))


async def until(condition: Any, seconds: float = PATIENCE) -> None:
    """Wait until something holds."""

    async def look() -> Any:
        return condition()

    await until_async(look, seconds)


async def never(condition: Any, seconds: float = 0.6) -> None:
    """Hold that something stays false for a while."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                assert not condition()
                await asyncio.sleep(0.02)
    except TimeoutError:
        pass
