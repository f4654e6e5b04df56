"""Speaking in one channel: replies turned into frames, one after the other, at the pace that Discord allows."""

import asyncio
from collections import deque
from typing import Final

import discord
import structlog

from app.wire.frames import Frame
from app.wire.states import Verdict
from bots.client.pace import WINDOW_SECONDS, Pace
from bots.client.poster import ChannelClosed, Post
from bots.client.reply import QUIET_SECONDS, FrameReply

log = structlog.get_logger(__name__)


class Speaker:
    """Says what is due in a channel, in order; each frame is kept until Discord has confirmed it."""

    def __init__(self, channel: int, post: Post) -> None:
        self.channel: Final = channel
        self._post: Final = post
        self._pace: Final = Pace()
        self._replies: Final[deque[FrameReply]] = deque()
        self._answers: Final[deque[Frame]] = deque()
        self._woken: Final = asyncio.Event()

    @property
    def rested(self) -> bool:
        """Say whether it has nothing to say, and nothing that it said counts any more."""
        return not self._replies and not self._answers and self._pace.rested(asyncio.get_running_loop().time())

    def carry(self, reply: FrameReply) -> None:
        """Begin to say a reply."""
        self._replies.append(reply)
        reply.wake = self._woken.set
        self._woken.set()

    def drop(self, reply: FrameReply) -> None:
        """Say no more of a reply."""
        if reply in self._replies:
            self._replies.remove(reply)
        reply.over.set()

    def answer(self, frame: Frame) -> None:
        """Say one frame that belongs to no reply."""
        self._answers.append(frame)
        self._woken.set()

    async def run(self) -> None:
        """Speak until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            now = loop.time()
            due = self._answers or any(one.due or one.quiet for one in self._replies)
            urgent = bool(self._answers) or any(one.urgent for one in self._replies)
            wait = max(0.0, self._pace.next_at(now, urgent=urgent) - now) if due else QUIET_SECONDS / 3
            if wait:
                try:
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
                except TimeoutError:
                    pass
                continue
            began = loop.time()
            try:
                await self._speak()
            except ChannelClosed as error:
                self._hush(str(error))
            except discord.HTTPException as error:
                # Nothing that another try would mend: the platform's lease on the turn runs out, and it goes elsewhere.
                self._hush(str(error))
            # Discord counts a post when it comes in, and discord.py holds the answer to the last of a window back until
            # the window is over. One that took even longer was tried again, and came in at the end.
            took = loop.time() - began
            self._pace.note(began if took < WINDOW_SECONDS else began + took)

    async def _speak(self) -> None:
        if self._answers:
            await self._post(self.channel, self._answers[0])
            self._answers.popleft()
            return
        reply = next((one for one in self._replies if one.urgent), None)
        reply = reply or next((one for one in self._replies if one.due), None)
        reply = reply or next(one for one in self._replies if one.quiet)
        # Each in its turn, where two speak in one channel.
        self._replies.remove(reply)
        self._replies.append(reply)
        frame = reply.next_frame()
        await self._post(self.channel, frame)
        reply.gone_out(frame)

    def _hush(self, why: str) -> None:
        log.error("channel.closed", channel=self.channel, why=why, turns=[one.turn for one in self._replies])
        self._answers.clear()
        for reply in list(self._replies):
            reply.hear(Verdict.STALE)
            self.drop(reply)
