"""OpenAI's own client against the real engine: what it asks for is carried out, and hanging up stops the GPU's work."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.support.stack import Stack
from tests.support.waiting import until, until_async

LONG: list[Any] = [{"role": "user", "content": "Write a long story about a lizard who keeps a lighthouse."}]
PATIENCE = 90.0
"""Seconds for a reply of the real model on a busy machine."""


@pytest.fixture(scope="module")
def known(stack: Stack) -> dict[str, str]:
    return {"base_url": f"{stack.status()['url']}/v1", "api_key": stack.token()}


def busy_slots(stack: Stack) -> int:
    """How many slots of llama.cpp itself work, as its own `/slots` says."""
    [words] = [words for pid in stack.pids() if "--api-key-file" in (words := psutil.Process(pid).cmdline())]
    given = dict(itertools.pairwise(words))
    key = Path(given["--api-key-file"]).read_text().strip()
    url = f"http://{given['--host']}:{given['--port']}/slots"
    return sum(one["is_processing"] for one in httpx.get(url, headers={"Authorization": f"Bearer {key}"}).json())


@pytest.mark.parametrize("streamed", [True, False])
async def test_hanging_up_frees_the_engines_slot(stack: Stack, known: dict[str, str], streamed: bool) -> None:
    async with openai.AsyncOpenAI(**known, timeout=PATIENCE, max_retries=0) as client:

        async def listen() -> None:
            more: dict[str, Any] = {"max_tokens": 1000, "temperature": 0.0, "stream": streamed}
            answer: Any = await client.chat.completions.create(model="default", messages=LONG, **more)
            async for _ in answer:
                pass

        asking = asyncio.create_task(listen())
        await until_async(lambda: asyncio.to_thread(busy_slots, stack), PATIENCE)
        asking.cancel()
        await until_async(lambda: asyncio.to_thread(lambda: busy_slots(stack) == 0), PATIENCE)
    await asyncio.to_thread(until, lambda: stack.status()["nodes"][0]["busy"] == 0)


def test_what_is_asked_for_is_carried_out(stack: Stack, known: dict[str, str]) -> None:
    """The synchronous client: the same seed says the same, a stop text ends it, a schema is kept to, the length too."""
    with openai.OpenAI(**known, timeout=PATIENCE) as client:
        [model] = client.models.list()
        given: dict[str, Any] = {"model": model.id, "messages": LONG, "max_tokens": 24}

        def said(**more: Any) -> Any:
            return client.chat.completions.create(**(given | more)).choices[0]

        first = said(seed=7, temperature=1.0, top_p=0.9)
        assert first.finish_reason == "length"
        assert first.message.content == said(seed=7, temperature=1.0, top_p=0.9).message.content
        assert first.message.content != said(seed=8, temperature=1.0, top_p=0.9).message.content

        word = first.message.content.split()[3]
        cut = said(seed=7, temperature=1.0, top_p=0.9, stop=[word])
        assert (cut.finish_reason, word in cut.message.content) == ("stop", False)

        schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"], "additionalProperties": False}
        wanted = {"type": "json_schema", "json_schema": {"name": "lizard", "schema": schema}}
        formed = said(response_format=wanted, max_tokens=60, temperature=0.0, seed=1)
        if formed.finish_reason == "stop":
            assert set(json.loads(formed.message.content)) == {"age"}
        assert formed.message.content.lstrip().startswith("{")

        chunks = list(client.chat.completions.create(**given, stream=True, stream_options={"include_usage": True}))
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == given["max_tokens"]
        text = client.completions.create(model="default", prompt="The lizard", max_tokens=8)
        assert text.choices[0].text
