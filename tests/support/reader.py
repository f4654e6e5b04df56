"""A page without a browser: it shows what the socket says, comes back when the socket breaks, and checks every byte."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidMessage, InvalidStatus, WebSocketException

from tests.support.waiting import PATIENCE

FINAL = ("done", "failed", "cancelled")


@dataclass(slots=True)
class Reader:
    """One prompt of one session, followed to its end through any number of connections."""

    url: str
    token: str
    session: str = ""
    parent: str | None = None
    """The message that the prompt follows."""
    turn: str = ""
    shown: bytearray = field(default_factory=bytearray)
    attempt: int = 0
    ending: dict[str, Any] = field(default_factory=dict)
    first_text: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    endings: int = 0
    doubled: int = 0
    """Bytes that came though they were shown already."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def ask(self, prompt: str, sampling: dict[str, Any] | None = None, seconds: float = 300) -> "Reader":
        """Send a prompt and follow its turn until it has ended."""
        if not self.session:
            async with httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=PATIENCE) as client:
                self.session = (await client.post("/api/sessions")).raise_for_status().json()["id"]
        identity = str(uuid4())
        message = {"type": "prompt", "id": identity, "text": prompt, "parent": self.parent, "sampling": sampling or {}}
        async with asyncio.timeout(seconds):
            while not self.ending:
                try:
                    async with connect(self._socket, additional_headers=self.headers, max_size=None) as socket:
                        self.connections += 1
                        await self._talk(socket, message)
                except (OSError, WebSocketException, InvalidStatus, InvalidMessage):
                    await asyncio.sleep(0.1)
        return self

    @property
    def _socket(self) -> str:
        return f"{self.url.replace('http', 'ws', 1)}/ws/sessions/{self.session}"

    async def _talk(self, socket: ClientConnection, message: dict[str, Any]) -> None:
        first = {"type": "resume", "turn": self.turn, "at": len(self.shown)} if self.turn else message
        await socket.send(orjson.dumps(first).decode())
        async for frame in socket:
            self._hear(orjson.loads(frame))
            if self.ending:
                return

    def _hear(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "accepted":
            self.turn = event["turn"]
        elif kind == "error":
            assert event["code"] in ("unavailable", "busy"), event
            if not self.turn:
                raise OSError(event["message"])  # Not kept: it is sent again, with the same id.
        elif event.get("turn") != self.turn:
            return
        elif kind == "started" and event["attempt"] > self.attempt:
            self.attempt = event["attempt"]
            del self.shown[event["at"] :]
        elif kind == "delta":
            text, at = event["text"].encode(), event["at"]
            assert at <= len(self.shown), f"a gap: {at} after {len(self.shown)}"
            known = self.shown[at : at + len(text)]
            assert text.startswith(known), f"another text at {at}: {known!r} is shown, {text!r} came"
            self.doubled += len(known)
            self.shown += text[len(self.shown) - at :]
            self.first_text.set()
        elif kind in FINAL:
            self.ending = event
            self.endings += 1

    async def kept(self) -> dict[str, Any]:
        """What PostgreSQL keeps of the session, as the page would load it anew."""
        async with httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=PATIENCE) as client:
            found: dict[str, Any] = (await client.get(f"/api/sessions/{self.session}")).raise_for_status().json()
            return found
