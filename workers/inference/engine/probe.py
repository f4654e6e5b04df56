"""Asks a server that has just come up whether it is what was asked for, and whether it writes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
import structlog

from workers.inference.engine.chunks import ChunkReader, Text
from workers.inference.engine.client import LlamaClient, reply_body
from workers.inference.engine.errors import EngineError, EngineMisconfigured, EngineRefused, EngineUnreachable
from workers.inference.engine.request import GenerateRequest, Message, Sampling
from workers.inference.engine.settings import EngineSettings
from workers.inference.engine.sse import EventReader

log = structlog.get_logger(__name__)

#: A reply that begins with these words again was repeated, not continued.
BEGUN = "Certainly, here are the first"
#: Many servers of another make take a begun reply for a message like others and answer anew: then people would read its
#: beginning twice. What comes next here is never how an answer begins.
COUNT_ON: Message = {"role": "user", "content": "Count from one to twenty in words, with commas between them, and say nothing else."}
COUNTED = "one, two, three, four, five, six, seven, eight, nine,"
NEXT = "ten"
NEXT_TOKENS = 4
#: It may have to load its model first.
STRANGER_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Tried:
    """What a first short reply showed."""

    #: Tokens of a prompt of one word: what the template adds of itself. None: the server cannot count.
    template_tokens: int | None
    #: Whether it continues a reply that has begun (models that always think first do not).
    continues: bool
    #: Whether a continued reply comes with its beginning once more.
    repeats: bool


async def check_shape(client: LlamaClient, settings: EngineSettings) -> int:
    """Return the tokens that fit into one slot; raise EngineMisconfigured if our own server has fewer than asked.

    A server that is not ours is taken as it is: it may have been told more than it says.
    """
    ours = not settings.llama_url
    properties = await client.identify()
    slots = await client.slots() if client.is_llama else None
    if properties is None or slots is None:
        if ours:
            raise EngineMisconfigured("llama.cpp does not tell its slots: update it (2026-08-14 or later).")
        return min(settings.ctx_size, properties.ctx_size) if properties and properties.ctx_size else settings.ctx_size
    ctx_size = min((slot.ctx_size for slot in slots if slot.ctx_size), default=properties.ctx_size)
    count = properties.slots or len(slots)
    if not ours:
        if count and count < settings.slots:
            log.warning("The server has fewer slots than MEATLIZARD_SLOTS", server=count, asked=settings.slots)
        return min(settings.ctx_size, ctx_size) if ctx_size else settings.ctx_size
    if count != settings.slots or len(slots) != settings.slots:
        raise EngineMisconfigured(f"llama.cpp made {count} slots where MEATLIZARD_SLOTS asks for {settings.slots}.")
    if ctx_size < settings.ctx_size:
        raise EngineMisconfigured(
            f"This model takes at most {ctx_size} tokens a slot: set MEATLIZARD_CTX_SIZE to {ctx_size} or less "
            f"(it is {settings.ctx_size})."
        )
    return settings.ctx_size


async def try_out(client: LlamaClient) -> Tried:
    """Have a text continued by one token: it proves the whole way and tells how this build behaves."""
    question: Message = {"role": "user", "content": "Count."}
    template_tokens = await client.count([question])
    try:
        text = await _first(client, GenerateRequest([question], Sampling(max_tokens=1), BEGUN))
    except EngineRefused as error:
        if error.retry:
            # Not a matter of the request: the server is broken, and another start may mend it.
            raise EngineUnreachable(client.url, str(error)) from None
        await _first(client, GenerateRequest([question], Sampling(max_tokens=1)))
        return Tried(template_tokens, continues=False, repeats=False)
    return Tried(template_tokens, continues=True, repeats=text.startswith(BEGUN))


async def try_stranger(client: LlamaClient) -> Tried:
    """Have a server of another make count on; one that cannot be seen to do so begins anew at a take-over."""
    text = ""
    try:
        async with asyncio.timeout(STRANGER_SECONDS):
            text = await _first(client, GenerateRequest([COUNT_ON], Sampling(max_tokens=NEXT_TOKENS, temperature=0), COUNTED))
    except (EngineError, TimeoutError) as error:
        log.info("The server was not heard counting on", error=str(error) or type(error).__name__)
    return Tried(None, continues=text.strip().lower().startswith(NEXT), repeats=False)


async def _first(client: LlamaClient, request: GenerateRequest) -> str:
    events, chunks, text = EventReader(), ChunkReader(), ""
    try:
        response = await client.open_reply(reply_body(request, client))
        try:
            async for data in response.content.iter_any():
                text += "".join(one.text for one in chunks.take(events.feed(data)) if isinstance(one, Text))
        finally:
            response.close()
    except (aiohttp.ClientError, OSError) as error:
        raise EngineUnreachable(client.url, type(error).__name__) from None
    return text
