"""The HTTP side of one llama-server, or of another server that speaks OpenAI's chat API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from workers.inference.engine.chunks import refusal
from workers.inference.engine.errors import EngineUnreachable
from workers.inference.engine.request import GenerateRequest, Message

#: Answers to everything but a reply are there at once; a server that needs longer is wedged.
CALL_SECONDS = 5.0
CONNECT_SECONDS = 5.0
#: Counting tokens of a very long session takes a moment on a busy machine.
COUNT_SECONDS = 20.0
#: Errors are short; a proxy's page of HTML is not worth reading on.
ERROR_BYTES = 16_384
#: Replies must stay continuable, and llama.cpp does not continue one that would have to think first.
TEMPLATE_OPTIONS: Mapping[str, Any] = {"enable_thinking": False}


@dataclass(frozen=True, slots=True)
class Slot:
    """One of the server's slots; `mark` changes whenever it gets anywhere."""

    ctx_size: int
    busy: bool
    mark: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Properties:
    """What a llama-server says of itself."""

    slots: int
    ctx_size: int


class LlamaClient:
    """One server's address, key and dialect."""

    def __init__(self, url: str, api_key: str, model_name: str) -> None:
        base = url.rstrip("/").removesuffix("/v1")
        self.url = base
        self.model_name = model_name
        #: Whether it has llama-server's own endpoints and parameters (`identify` finds out).
        self.is_llama = True
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._session: aiohttp.ClientSession | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    async def close(self) -> None:
        """Drop all connections; running replies end with an error."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def healthy(self) -> bool:
        """Whether it has its model loaded; raises EngineUnreachable when nobody answers."""
        status, _ = await self._call("GET", "/health")
        if status == 404:
            # Not a llama-server; any OpenAI-compatible one can list its models.
            status, _ = await self._call("GET", "/v1/models")
        return status == 200

    async def identify(self) -> Properties | None:
        """Ask what it is: a llama-server's properties, or None for another OpenAI-compatible server."""
        status, body = await self._call("GET", "/props")
        defaults = body.get("default_generation_settings") if isinstance(body, dict) else None
        self.is_llama = status == 200 and (isinstance(defaults, dict) or "total_slots" in body)
        if not self.is_llama:
            return None
        n_ctx = (defaults or {}).get("n_ctx") or body.get("n_ctx")
        return Properties(int(body.get("total_slots") or 0), int(n_ctx or 0))

    async def first_model(self) -> str:
        """The first model it lists, by its own name for it; empty where it lists none."""
        status, body = await self._call("GET", "/v1/models")
        listed = body.get("data") if status == 200 and isinstance(body, dict) else None
        first = listed[0] if isinstance(listed, list) and listed else None
        return str(first.get("id") or "") if isinstance(first, dict) else ""

    async def slots(self) -> list[Slot] | None:
        """The state of every slot; None where the server does not tell."""
        status, body = await self._call("GET", "/slots")
        if status != 200 or not isinstance(body, list):
            return None
        return [_slot(entry) for entry in body if isinstance(entry, dict)]

    async def count(self, messages: Sequence[Message]) -> int | None:
        """Tokens of the prompt that `messages` make, template included; None where the server cannot count."""
        if not self.is_llama:
            return None
        prompt = {"messages": messages, "chat_template_kwargs": TEMPLATE_OPTIONS}
        status, body = await self._call("POST", "/v1/chat/completions/input_tokens", prompt, COUNT_SECONDS)
        if status == 200 and isinstance(body, dict):
            return int(body["input_tokens"])
        # Builds before late 2025 count in two steps.
        status, body = await self._call("POST", "/apply-template", prompt, COUNT_SECONDS)
        if status != 200 or not isinstance(body, dict):
            return None
        content = {"content": body.get("prompt", ""), "add_special": True, "parse_special": True}
        status, body = await self._call("POST", "/tokenize", content, COUNT_SECONDS)
        return len(body["tokens"]) if status == 200 and isinstance(body, dict) else None

    async def tokens(self, text: str) -> int | None:
        """How many tokens a text is that holds no marks; None where the server has no tokenizer to ask."""
        if not self.is_llama:
            return None
        words = {"content": text, "add_special": False, "parse_special": False}
        status, body = await self._call("POST", "/tokenize", words, COUNT_SECONDS)
        return len(body["tokens"]) if status == 200 and isinstance(body, dict) else None

    async def holds_marks(self, text: str) -> bool | None:
        """Whether the model reads marks of its own in `text`; None where the server has no tokenizer to ask."""
        if not self.is_llama:
            return None
        read = []
        for special in (True, False):
            words = {"content": text, "add_special": False, "parse_special": special}
            status, body = await self._call("POST", "/tokenize", words, COUNT_SECONDS)
            if status != 200 or not isinstance(body, dict):
                return None
            read.append(body.get("tokens"))
        return bool(read[0] != read[1])

    async def open_reply(self, payload: Mapping[str, Any]) -> aiohttp.ClientResponse:
        """Start a streamed reply. The answer is not read yet; closing it ends the generation."""
        response = await self._http().post(self.url + "/v1/chat/completions", data=orjson.dumps(payload))
        if response.status == 200:
            return response
        async with response:
            raise refusal(response.status, _json(await response.content.read(ERROR_BYTES)))

    async def _call(
        self, method: str, path: str, payload: Mapping[str, Any] | None = None, seconds: float = CALL_SECONDS
    ) -> tuple[int, Any]:
        data = None if payload is None else orjson.dumps(payload)
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with self._http().request(method, self.url + path, data=data, timeout=timeout) as response:
                return response.status, _json(await response.read())
        except TimeoutError:
            raise EngineUnreachable(self.url, f"nothing within {seconds:.0f} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(self.url, type(error).__name__) from None

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                # llama-server closes a connection after a stream without announcing it, so one taken from a
                # pool may be dead before the request is written; a new one costs 0.2 ms on loopback.
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                auto_decompress=False,
            )
        return self._session


def reply_body(request: GenerateRequest, client: LlamaClient) -> dict[str, Any]:
    """The request body for one streamed reply, in the server's dialect."""
    body = request.sampling.payload(llama=client.is_llama)
    body["messages"] = request.prompt()
    body["stream"] = True
    body["stream_options"] = {"include_usage": True}
    body["model"] = client.model_name
    if client.is_llama:
        body["return_progress"] = True
        body["chat_template_kwargs"] = TEMPLATE_OPTIONS
    return body


def _slot(entry: Mapping[str, Any]) -> Slot:
    following = entry.get("next_token") or {}
    if isinstance(following, list):
        following = following[0] if following else {}
    mark = (
        entry.get("id_task"),
        entry.get("n_prompt_tokens"),
        entry.get("n_prompt_tokens_processed"),
        following.get("n_decoded"),
    )
    return Slot(int(entry.get("n_ctx") or 0), bool(entry.get("is_processing")), mark)


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
