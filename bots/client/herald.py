"""The herald: says in the node's control channel what the node is, and hears whether another speaks with its token."""

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import discord
import orjson
import structlog

from app.wire.frames import Frame, FrameKind
from bots import waits
from bots.client.clock import DiscordClock
from bots.client.host import Host
from bots.client.poster import ChannelClosed, Post

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 30.0
"""The platform forgets a node that has said nothing for twice as long."""
LEAST_SECONDS: Final = 2.0
"""Between two hellos, so that a state that flaps is no flood."""
ANSWER_SECONDS: Final = 3.0
"""How long a newcomer waits for one who was there before to say so."""
FRESH_SECONDS: Final = 2 * EVERY_SECONDS
"""A hello younger than this may be of somebody alive."""
STOPPED: Final = "stopped"


class Herald:
    """One for each time the Client-Bot takes up its post: the instance is who it is among those with its token."""

    def __init__(
        self,
        node: str,
        host: Host,
        post: Post,
        clock: DiscordClock,
        refused: Counter[str],
        delete: Callable[[int, int], Any],
    ) -> None:
        self._node: Final = node
        self._host: Final = host
        self._post: Final = post
        self._clock: Final = clock
        self._refused: Final = refused
        self._delete: Final = delete
        self.channel: int | None = None
        """The control channel, once it is known."""
        self.instance: Final = secrets.token_hex(8)
        self.first = 0
        """The id of this instance's first hello: who has the smaller one was there before."""
        self.elder: Final = asyncio.Event()
        """Set when another instance speaks that was there before."""
        self._last = 0
        self._heard: tuple[int, int] | None = None
        self._changed: Final = asyncio.Event()
        self._saying: Final = asyncio.Lock()

    @property
    def channel_name(self) -> str:
        """The name of the control channel."""
        return f"node-{self._node}"

    def tell(self) -> None:
        """Say it anew, soon."""
        self._changed.set()

    async def run(self) -> None:
        """Say how the node is, now and then and where it changes."""
        while True:
            self._changed.clear()
            with contextlib.suppress(ChannelClosed, discord.HTTPException):
                await self.say()
            await asyncio.sleep(LEAST_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS - LEAST_SECONDS):
                    await self._changed.wait()

    async def say(self, state: str | None = None) -> None:
        """Post a hello in place of the last one."""
        async with self._saying:
            if self.channel is None:
                return
            health = self._host.health()
            body = {
                "node": self._node,
                "model": health.model,
                "slots": health.slots,
                "busy": health.busy,
                "state": state or health.state,
                "keys": " ".join(health.keys),
                "tokens_per_second": health.tokens_per_second,
                "memory": health.memory,
                "restarts": health.restarts,
                "discord_wait": round(waits.seconds(), 3),
                "error": health.error[:200],
                "broker": health.broker,
                **health.machine.told(),
                "refused": dict(self._refused),
                "version": version("meatlizard"),
                "instance": self.instance,
                "first": self.first,
            }
            at = int(self._clock.now() * 1000)
            posted = await self._post(self.channel, Frame(FrameKind.HELLO, at=at, body=orjson.dumps(body)))
            self._clock.note(posted)
            last, self._last = self._last, posted
            self.first = self.first or posted
            self._judge()
            if last:
                with contextlib.suppress(discord.DiscordException, OSError):
                    await self._delete(self.channel, last)

    def hear(self, message: int, frame: Frame) -> bool:
        """Take in a hello of this bot; return whether it is of another instance that may be at work."""
        try:
            said = orjson.loads(frame.body)
            instance, first, state = str(said["instance"]), int(said["first"]) or message, said["state"]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return False
        if instance == self.instance or state == STOPPED or self._clock.age(message) > FRESH_SECONDS:
            return False
        self._heard = (message, first)
        self._judge()
        return True

    def _judge(self) -> None:
        if self._heard is None or not self.first:
            return
        message, first = self._heard
        if message < self.first:
            return  # Said before this one came: it may be the one that this one stands in for.
        if first < self.first:
            self.elder.set()
        else:
            # The newcomer hears that somebody is here, and goes.
            self.tell()
