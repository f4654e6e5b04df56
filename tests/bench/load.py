"""Many pages at once: each sends a prompt on its open socket, and notes when every byte of the reply came."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp
import orjson


@dataclass(slots=True)
class Seen:
    """One reply as a page saw it."""

    prompt: str
    asked: float = 0.0
    first: float = 0.0
    """Moments of this machine's monotonic clock."""
    text: str = ""
    arrivals: list[tuple[int, float]] = field(default_factory=list)
    """Characters shown, and since when."""
    state: str = ""
    told: list[tuple[float, float]] = field(default_factory=list)
    """When it was told how many seconds it had to wait."""
    begun: float = 0.0

    @property
    def first_ms(self) -> float:
        return (self.first - self.asked) * 1000

    @property
    def pace(self) -> float:
        """Characters a second between the first and the last piece."""
        (at, since), (end, until) = self.arrivals[0], self.arrivals[-1]
        return (end - at) / (until - since)

    def take(self, text: str) -> None:
        now = time.monotonic()
        self.first = self.first or now
        self.text += text
        self.arrivals.append((len(self.text), now))


async def bare(url: str, prompts: list[str], tokens: int) -> list[Seen]:
    """Ask the engine itself, all at once."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as client:
        return await asyncio.gather(*(_bare(client, url, prompt, tokens) for prompt in prompts))


async def _bare(client: aiohttp.ClientSession, url: str, prompt: str, tokens: int) -> Seen:
    seen = Seen(prompt)
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": tokens, "stream": True}
    seen.asked = time.monotonic()
    async with client.post(f"{url}/v1/chat/completions", data=orjson.dumps(body)) as response:
        async for line in response.content:
            if line.startswith(b'data: {"choices":[{'):
                seen.take(orjson.loads(line[6:])["choices"][0]["delta"].get("content", ""))
    seen.state = "done"
    return seen


async def chain(
    url: str, token: str, prompts: list[str], tokens: int, apart: float = 0.0, opened: Callable[[], None] | None = None
) -> list[Seen]:
    """Ask through the whole chain: every page is open before the first prompt goes out; `apart` seconds lie between two.

    `opened` is called, on a thread of its own, when all pages are open.
    """
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as client:
        pages = [await _page(client, url) for _ in prompts]
        # A page is open when it answers: whoever types has looked at it first.
        for page in pages:
            await page.send_str('{"type": "ping"}')
            await page.receive()
        try:
            if opened:
                await asyncio.to_thread(opened)
            return await asyncio.gather(
                *(_chain(page, prompt, tokens, number * apart) for number, (page, prompt) in enumerate(zip(pages, prompts, strict=True)))
            )
        finally:
            for page in pages:
                await page.close()


@dataclass(frozen=True)
class Asked:
    """One prompt of a person in a crowd."""

    prompt: str
    tokens: int
    pause: float
    """Seconds before it: since the person's last reply."""


async def crowd(url: str, people: dict[str, list[Asked]]) -> list[Seen]:
    """Let people ask, by their tokens: each one prompt after the other, as a page lets them."""

    async def person(token: str, asked: list[Asked]) -> list[Seen]:
        headers = {"Authorization": f"Bearer {token}"}
        seen = []
        for one in asked:
            await asyncio.sleep(one.pause)
            page = await _page(client, url, headers)
            try:
                seen.append(await _chain(page, one.prompt, one.tokens, 0.0))
            finally:
                await page.close()
        return seen

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        return [seen for own in await asyncio.gather(*(person(*one) for one in people.items())) for seen in own]


async def _page(client: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None) -> aiohttp.ClientWebSocketResponse:
    async with client.post(f"{url}/api/sessions", headers=headers) as response:
        session = (await response.json())["id"]
    return await client.ws_connect(f"{url}/ws/sessions/{session}", max_msg_size=0, headers=headers)


async def _chain(page: aiohttp.ClientWebSocketResponse, prompt: str, tokens: int, after: float) -> Seen:
    await asyncio.sleep(after)
    seen, turn = Seen(prompt), ""
    message = {"type": "prompt", "id": str(uuid4()), "text": prompt, "sampling": {"max_tokens": tokens}}
    seen.asked = time.monotonic()
    await page.send_str(orjson.dumps(message).decode())
    async for frame in page:
        event: dict[str, Any] = orjson.loads(frame.data)
        turn = turn or event.get("turn", "")
        match event["event"]:
            case "delta":
                seen.take(event["text"])
            case "started":
                seen.begun = time.monotonic()
            case "queued" if event.get("eta") is not None:
                seen.told.append((time.monotonic(), event["eta"]))
            case "done" | "failed" | "cancelled" as state:
                seen.state = state
                break
            case "error":
                raise RuntimeError(event["message"])
    return seen
