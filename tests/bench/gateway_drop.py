"""The Server-Bot's gateway dropped in the middle of replies: how long until each of them goes on, and whether all is whole."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.bench.engine import Engine
from tests.bench.talking import SESSIONS, Talk, Watcher, judge
from tests.support.stack import Stack

BOT: Final = "Server-Bot"
INTO_SECONDS: Final = 3.0
"""How far into the replies the gateway is dropped: several frames have come, several are to come."""


@dataclass(frozen=True, slots=True)
class Drop:
    """One drop."""

    back: float
    """Seconds from the drop until the last of the replies under way went on."""
    talk: Talk


async def drop(one: Stack, engine: Engine, *, resumes: bool) -> Drop:
    """Drop the gateway while every session is given a reply; without `resumes` Discord has forgotten the bot's session."""
    address, token = (await asyncio.to_thread(one.status))["url"], await asyncio.to_thread(one.token)
    pages = [Watcher(address, token) for _ in range(SESSIONS)]
    asking = [asyncio.create_task(page.tell()) for page in pages]
    await asyncio.gather(*(page.first_text.wait() for page in pages))
    await asyncio.sleep(INTO_SECONDS)
    if not resumes:
        await _order(one, "faults", {"kind": "refuse_resume", "bot": BOT})
    await _order(one, "gateway", {"action": "drop", "abrupt": True, "bot": BOT})
    dropped = time.monotonic()
    await asyncio.gather(*asking)
    # What was shown after the drop may have come before it: the next text then came by the new connection.
    later = [[when for when, _ in page.seen if when > dropped + 0.2] for page in pages]
    return Drop(max(found[0] for found in later) - dropped, await judge(pages, engine))


async def _order(one: Stack, path: str, body: dict[str, Any]) -> None:
    settings = json.loads((one.home / "sandbox.json").read_text())
    headers = {"Authorization": f"Bearer {settings['control_token']}"}
    async with httpx.AsyncClient(headers=headers) as client:
        (await client.post(f"http://127.0.0.1:{settings['port']}/sandbox/{path}", json=body)).raise_for_status()
