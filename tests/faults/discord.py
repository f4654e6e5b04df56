"""What goes wrong at Discord: the sandbox misbehaves as asked, for some seconds or some times."""

import asyncio
import contextlib
import json
import random
from collections.abc import Iterator
from typing import Any, Final

import httpx

from tests.faults.injection import Injection
from tests.faults.stage import Stage

POSTS: Final = {"method": "POST", "route": "/channels/{channel}/messages"}
EVENT: Final = {"event": "MESSAGE_CREATE"}
TIMES: Final = 3
"""How many requests or events a fault hits that does not last."""
GATEWAYS: Final = {
    "gateway dropped": {"action": "drop", "abrupt": True},
    "gateway asks to reconnect": {"action": "reconnect"},
    "gateway forgets its sessions": {"action": "invalidate"},
}
REQUESTS: Final = {
    "posts fail, nothing was done": "fail_before",
    "posts fail, though done": "fail_after",
    "posts break off, nothing was done": "reset_before",
    "posts break off, though done": "reset_after",
}
EVENTS: Final = {
    "messages lost": "lose",
    "messages late": "delay",
    "messages twice": "duplicate",
    "messages out of order": "reorder",
}


def all_of(stage: Stage, dice: random.Random) -> Iterator[Injection]:
    """Return every fault of the sandbox's own."""
    hand = _Hand(stage, dice)
    for name, action in GATEWAYS.items():
        yield Injection(name, "discord", lambda _, action=action: hand.ask("gateway", action))
    yield Injection("gateway plays dead", "discord", hand.zombie)
    yield Injection("gateway away, resuming refused", "discord", hand.away)
    yield Injection("429 for all posts", "discord", hand.storm)
    for name, kind in REQUESTS.items():
        yield Injection(name, "discord", lambda _, kind=kind: hand.ask("faults", {"kind": kind, "count": TIMES, **POSTS}))
    for name, kind in EVENTS.items():
        yield Injection(name, "discord", lambda _, kind=kind: hand.ask("faults", {"kind": kind, "count": TIMES, **EVENT}))
    yield Injection("answers late", "discord", hand.slow)
    yield Injection("channel deleted by hand", "discord", hand.delete)
    yield Injection("message of a stranger", "discord", hand.stranger)


class _Hand:
    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self._stage, self._dice = stage, dice
        self._settings: Final[dict[str, Any]] = json.loads((stage.home.path / "sandbox.json").read_text())

    async def ask(self, path: str, body: dict[str, Any]) -> None:
        with contextlib.suppress(httpx.HTTPError):
            async with self._client() as client:
                await client.post(path, json=body)

    async def zombie(self, seconds: float) -> None:
        await self.ask("gateway", {"action": "zombie", "seconds": seconds})

    async def away(self, seconds: float) -> None:
        await self.ask("faults", {"kind": "refuse_resume", "count": TIMES})
        await self.ask("faults", {"kind": "refuse_connect", "during": seconds})
        await self.ask("gateway", GATEWAYS["gateway dropped"])
        await asyncio.sleep(seconds)

    async def storm(self, seconds: float) -> None:
        await self.ask("faults", {"kind": "storm", "during": seconds, **POSTS})
        await asyncio.sleep(seconds)

    async def slow(self, seconds: float) -> None:
        await self.ask("faults", {"kind": "slow", "during": seconds, "seconds": 2.0})
        await asyncio.sleep(seconds)

    async def delete(self, _: float) -> None:
        """An administrator deletes the channel of any session."""
        if sessions := await self._sessions():
            await self.ask("channels/delete", {"channel": self._dice.choice(sessions)})

    async def stranger(self, _: float) -> None:
        """Somebody posts again what a bot has said: a frame that is sealed well, from the wrong hand."""
        with contextlib.suppress(httpx.HTTPError):
            async with self._client() as client:
                said = (await client.get("dump")).json()["messages"]
                if said:
                    one = self._dice.choice(said)
                    body = {"member": "ada", "channel": "general", "content": one["content"]}
                    await client.post("messages", json=body)

    async def _sessions(self) -> list[str]:
        with contextlib.suppress(httpx.HTTPError):
            async with self._client() as client:
                return [one["id"] for one in (await client.get("dump")).json()["channels"] if one["name"].startswith("s-")]
        return []

    def _client(self) -> httpx.AsyncClient:
        address = f"http://127.0.0.1:{self._settings['port']}/sandbox/"
        return httpx.AsyncClient(
            base_url=address, headers={"Authorization": f"Bearer {self._settings['control_token']}"}, timeout=5
        )
