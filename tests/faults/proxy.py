"""A wire between two processes that can be cut, slowed, made lossy, or go deaf without a word."""

import asyncio
import random
from enum import StrEnum
from typing import Final

CHUNK_BYTES: Final = 65_536
SLOW_SECONDS: Final = 0.5
"""What a slow wire adds to each direction."""
RESEND_SECONDS: Final = (0.2, 1.0)
"""A lost packet shows to a TCP connection as a pause: the time until it is sent again."""
KEEPALIVE_SECONDS: Final = 15
"""After a connection has gone deaf, until the kernels of both its ends find out: all sockets of the platform ask for it."""
LEFT_SECONDS: Final = 3
"""The same once one end has left."""
LOSS: Final = 0.2
BREAK: Final = 0.01
"""Shares of pieces that are lost, and of connections that loss breaks for good."""


class Wire(StrEnum):
    """How a wire behaves."""

    WHOLE = "whole"
    CUT = "cut"
    """Connections are reset, new ones too."""
    SLOW = "slow"
    LOSSY = "lossy"
    HALF_OPEN = "half-open"
    """Who is connected is heard no more and not told before their kernel is; new connections work."""
    DEAF = "deaf"
    """The same for new connections."""


class Proxy:
    """Carries bytes from a port of its own to another one, or to several in turn, as its wire says."""

    def __init__(self, name: str, target: int, dice: random.Random) -> None:
        self.name: Final = name
        self.targets: Final = [target]
        """The ports that connections go to, one after the other; to be changed at any time."""
        self.asked = 0
        """Connections that were tried, those that were refused included."""
        self.port = 0
        self.wire = Wire.WHOLE
        self._dice = dice
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        """Break every connection and listen no more."""
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.abort()

    def break_one(self, fewest: int = 1) -> bool:
        """Break a connection that dice choose, unless there are fewer than so many; say whether it was done."""
        links = [link for link in self._links if link.far is not None]
        enough = len(links) >= fewest
        if enough:
            self._dice.choice(links).abort()
        return enough

    def become(self, wire: Wire) -> None:
        """Change how the wire behaves; the connections that it carries feel it at once."""
        before, self.wire = self.wire, wire
        for link in list(self._links):
            # Who was talked to over a wire that went deaf has lost bytes, and can never go on.
            if wire is Wire.CUT or before is Wire.DEAF:
                link.abort()
            elif wire in (Wire.HALF_OPEN, Wire.DEAF):
                link.go_deaf()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        if self.wire is Wire.DEAF:
            link.go_deaf()
        target = self.targets[self.asked % len(self.targets)]
        self.asked += 1
        if self.wire is Wire.CUT:
            link.abort()
            return
        self._links.add(link)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            link.abort()
            self._links.discard(link)
            return
        link.far = far_writer
        try:
            await asyncio.gather(self._pump(link, reader, far_writer), self._pump(link, far_reader, writer))
        finally:
            link.abort()
            self._links.discard(link)

    async def _pump(self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                if self.wire is Wire.SLOW:
                    await asyncio.sleep(SLOW_SECONDS)
                elif self.wire is Wire.LOSSY and self._dice.random() < LOSS:
                    if self._dice.random() < BREAK:
                        break
                    await asyncio.sleep(self._dice.uniform(*RESEND_SECONDS))
                if link.deaf:
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        asyncio.get_running_loop().call_later(LEFT_SECONDS if link.deaf else 0, link.abort)


class _Link:
    """One connection through a proxy: both of its ends."""

    def __init__(self, near: asyncio.StreamWriter) -> None:
        self.near = near
        self.far: asyncio.StreamWriter | None = None
        self.deaf = False

    def go_deaf(self) -> None:
        self.deaf = True
        asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, self.abort)

    def abort(self) -> None:
        for end in (self.near, self.far):
            if end is not None:
                end.transport.abort()
