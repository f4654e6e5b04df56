"""What the mirror costs: the first token of two stacks on one engine, with it and without, asked by turns."""

import asyncio
import json
import time
from dataclasses import dataclass
from statistics import median
from typing import Final
from uuid import uuid4

import httpx
from websockets.asyncio.client import connect

from tests.support.reader import FINAL
from tests.support.stack import Stack

WARM_UP: Final = 5
"""Prompts to each of the two whose figures are thrown away."""
PAUSE_SECONDS: Final = 0.25
"""Between two prompts: what one stack still has to do is not to fall on the other's figure."""
ANSWER_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Mirror:
    """Middle figures in milliseconds; `costs` is that of the differences, prompt by prompt."""

    on: float
    off: float
    costs: float


async def compare(on: Stack, off: Stack, rounds: int) -> Mirror:
    """Ask both so many times, each time another of them first."""
    took: tuple[list[float], list[float]] = ([], [])
    places = [((await asyncio.to_thread(one.status))["url"], await asyncio.to_thread(one.token)) for one in (on, off)]
    for number in range(WARM_UP + rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            await asyncio.sleep(PAUSE_SECONDS)
            async with asyncio.timeout(ANSWER_SECONDS):
                took[which].append(await _first(*places[which]))
    mine, other = took[0][WARM_UP:], took[1][WARM_UP:]
    return Mirror(median(mine), median(other), median(one - two for one, two in zip(mine, other, strict=True)))


async def _first(url: str, token: str) -> float:
    """Return the milliseconds from sending a prompt in a new session to its first text, on a socket that is open already."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        session = (await client.post("/api/sessions", json={})).raise_for_status().json()["id"]
    address = f"{url.replace('http', 'ws', 1)}/ws/sessions/{session}"
    async with connect(address, additional_headers=headers, max_size=None, compression=None) as line:
        prompt = {"type": "prompt", "id": str(uuid4()), "text": "Why?", "parent": None, "sampling": {"max_tokens": 8}}
        began = time.monotonic()
        await line.send(json.dumps(prompt))
        first = 0.0
        async for frame in line:
            event = json.loads(frame)["event"]
            if event == "delta" and not first:
                first = (time.monotonic() - began) * 1000
            if event in FINAL:
                break
        return first
