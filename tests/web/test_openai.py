"""`/v1` as programs know it: OpenAI's own client, streamed and not, its error classes, and what a hang-up does."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import httpx
import openai
import pytest
from huggingface_hub import InferenceClient
from openai.types.chat import ChatCompletion
from sqlalchemy import func, select

from app.core import redis
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Message, Session, Turn
from app.services import accounts, conversations, limits, tokens, turns
from app.stream.append import Entry
from app.wire import names
from app.wire.jobs import REFUSED, TOO_LONG
from app.wire.states import Door, TurnState
from tests.support.nodes import PlayedNode, ready
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import PATIENCE, until_async
from tests.support.website import Site

ASKED: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]
FIGURES: dict[str, Any] = {"prompt_tokens": 11, "completion_tokens": 7, "finish_reason": "stop"}


@pytest.fixture
async def client(site: Site, ada: Member, node: PlayedNode) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client, which asks once: what it would ask again is told apart below."""
    async with openai.AsyncOpenAI(
        base_url=f"{site.url}/v1", api_key=ada.token, max_retries=0, timeout=PATIENCE
    ) as client:
        yield client


def the_turn() -> Turn:
    with transaction() as tx:
        return tx.scalars(select(Turn)).one()


async def test_a_whole_answer(client: openai.AsyncOpenAI, node: PlayedNode) -> None:
    asking = asyncio.create_task(client.chat.completions.create(model="stand-in", messages=ASKED))
    writing = await node.take()
    await writing.begin()
    await writing.say("Because ", "of 光.")
    await writing.end(**FIGURES)
    answer = await asking
    assert answer.object == "chat.completion"
    assert answer.model == "stand-in"
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Because of 光.", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (11, 7, 18)
    turn = the_turn()
    assert (turn.door, turn.state) == ("api", "done")
    assert answer.id == f"chatcmpl-{turn.id.hex}"


@pytest.mark.parametrize("usage", [True, False])
async def test_a_streamed_answer(client: openai.AsyncOpenAI, node: PlayedNode, usage: bool) -> None:
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    answering = asyncio.create_task(node.answer("Weil ", "光 ", "🌈."))
    stream = await client.chat.completions.create(model="default", messages=ASKED, stream=True, **more)
    chunks = [chunk async for chunk in stream]
    await answering
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(part for part in said if part) == "Weil 光 🌈."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert ends == ["stop"]
    if usage:
        assert not chunks[-1].choices
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == 5
    else:
        assert chunks[-1].choices[0].finish_reason
        assert all(chunk.usage is None for chunk in chunks)


async def test_the_synchronous_client(site: Site, ada: Member, node: PlayedNode) -> None:
    with openai.OpenAI(base_url=f"{site.url}/v1", api_key=ada.token, max_retries=0, timeout=PATIENCE) as client:

        def streamed() -> str:
            stream = client.chat.completions.create(model="stand-in", messages=ASKED, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

        def whole() -> ChatCompletion:
            return client.chat.completions.create(model="stand-in", messages=ASKED)

        for ask in (streamed, whole):
            asking = asyncio.create_task(asyncio.to_thread(ask))
            await node.answer("One ", "two.")
            answer = await asking
            assert (answer if isinstance(answer, str) else answer.choices[0].message.content) == "One two."
        assert [one.id for one in await asyncio.to_thread(lambda: client.models.list().data)] == ["stand-in"]


async def test_a_model_goes_to_the_node_that_has_it(
    client: openai.AsyncOpenAI, node: PlayedNode, servers: Servers
) -> None:
    await asyncio.to_thread(ready, "other", 2, model="large")
    other = PlayedNode("other", node.client)
    for model, whose in (("large", other), ("stand-in", node), ("large", other)):
        answering = asyncio.create_task(whose.answer("Yes."))
        answer = await client.chat.completions.create(model=model, messages=ASKED)
        await answering
        assert answer.model == model


async def test_another_client_of_its_own_make(site: Site, ada: Member, node: PlayedNode) -> None:
    client = InferenceClient(base_url=f"{site.url}/v1", api_key=ada.token, timeout=PATIENCE)

    def streamed() -> str:
        chunks = client.chat_completion(ASKED, model="stand-in", stream=True, max_tokens=64, seed=3)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    def whole() -> str:
        return str(client.chat_completion(ASKED, model="stand-in").choices[0].message.content)

    for ask in (streamed, whole):
        asking = asyncio.create_task(asyncio.to_thread(ask))
        await node.answer("One ", "two.")
        assert await asking == "One two."


async def test_a_text_is_completed(client: openai.AsyncOpenAI, node: PlayedNode) -> None:
    asking = asyncio.create_task(client.completions.create(model="stand-in", prompt="Once upon a time", max_tokens=9))
    writing = await node.take()
    assert writing.job.messages[-1] == {"role": "user", "content": "Once upon a time"}
    assert writing.job.sampling["max_tokens"] == 9
    await writing.begin()
    await writing.say("there was")
    await writing.end(finish_reason="length")
    answer = await asking
    assert (answer.object, answer.choices[0].text, answer.choices[0].finish_reason) == (
        "text_completion",
        "there was",
        "length",
    )
    answering = asyncio.create_task(node.answer("a ", "b"))
    stream = await client.completions.create(model="stand-in", prompt=["Once"], stream=True)
    texts = [chunk.choices[0].text async for chunk in stream]
    # A reader that comes late gets what is there as one piece.
    assert ("".join(texts), texts[-1]) == ("a b", "")
    await answering


async def test_what_was_said_before_goes_along_as_given(client: openai.AsyncOpenAI, node: PlayedNode) -> None:
    said: list[Any] = [
        {"role": "developer", "content": "Speak as a pirate."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {"role": "assistant", "content": "Arr."},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Three"},
    ]
    asking = asyncio.create_task(client.chat.completions.create(model="stand-in", messages=said))
    writing = await node.answer("Arr.")
    await asking
    assert writing.job.messages == [
        {"role": "system", "content": "Speak as a pirate."},
        {"role": "user", "content": "One\nTwo"},
        {"role": "assistant", "content": "Arr."},
        {"role": "user", "content": "Three"},
    ]


SAMPLING: dict[str, Any] = {
    "temperature": 0.3,
    "top_p": 0.5,
    "presence_penalty": 0.25,
    "frequency_penalty": -0.5,
    "seed": 7,
    "stop": ["END", "###"],
}


async def test_every_field_reaches_the_node_and_words_lie_sealed(client: openai.AsyncOpenAI, node: PlayedNode) -> None:
    schema = {"type": "object", "properties": {"secret": {"type": "string"}}}
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    asking = asyncio.create_task(
        client.chat.completions.create(
            model="stand-in",
            messages=ASKED,
            max_completion_tokens=5,
            response_format=form,
            extra_body={"top_k": 3, "min_p": 0.2, "repeat_penalty": 1.2, "__proto__": {"admin": True}},
            **SAMPLING,
        )
    )
    writing = await node.answer("{}")
    await asking
    expected = SAMPLING | {"max_tokens": 5, "top_k": 3, "min_p": 0.2, "repeat_penalty": 1.2}
    assert writing.job.sampling == expected | {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    row = the_turn()
    assert not {"stop", "response_format"} & set(row.sampling)
    assert row.form
    assert b"secret" not in row.form


async def test_nothing_of_it_lies_in_the_open(client: openai.AsyncOpenAI, node: PlayedNode, servers: Servers) -> None:
    word = "Oachkatzlschwoaf"
    said: list[Any] = [{"role": "system", "content": word}, {"role": "user", "content": f"{word}?"}]
    asking = asyncio.create_task(client.chat.completions.create(model="stand-in", messages=said, stop=word))
    writing = await node.take()
    await writing.begin()
    await writing.say(f"Not {word[::-1]}.")
    for key in servers.redis.scan_iter("*"):
        value = servers.redis.dump(key)
        assert word.encode() not in value + key
        assert word[::-1].encode() not in value
    await writing.end()
    await asking
    with transaction() as tx:
        bodies = [row.body for row in tx.scalars(select(Message))]
    assert len(bodies) == 3
    assert not any(word.encode() in body for body in bodies)


async def test_it_fills_no_list_and_is_forgotten(
    client: openai.AsyncOpenAI, node: PlayedNode, site: Site, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = asyncio.create_task(client.chat.completions.create(model="stand-in", messages=ASKED))
    await node.answer("Yes.")
    await asking
    async with site.browser(ada) as browser:
        assert (await browser.get("/api/sessions")).json()["sessions"] == []
    assert await asyncio.to_thread(conversations.forget_old) == 0
    waiting = asyncio.create_task(client.chat.completions.create(model="stand-in", messages=ASKED))
    writing = await node.take()
    with transaction() as tx:
        for session in tx.scalars(select(Session)):
            session.updated_at = session.updated_at.replace(year=2020)
    assert await asyncio.to_thread(conversations.forget_old) == 1, "what is under way stays"
    await writing.begin()
    await writing.end()
    await waiting


async def test_a_turn_that_moves_goes_on_in_the_same_stream(client: openai.AsyncOpenAI, node: PlayedNode) -> None:
    async def two_attempts() -> None:
        writing = await node.take()
        await writing.begin()
        await writing.say("One ", "two ")
        node.writer.close(writing.reply)
        await asyncio.to_thread(turns.again, writing.job.turn, 1, "the node went away")
        second = await node.take()
        assert second.job.prefix == "One two "
        await second.begin()
        await second.say("three.")
        await second.end()

    moving = asyncio.create_task(two_attempts())
    stream = await client.chat.completions.create(model="stand-in", messages=ASKED, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "One two three."
    await moving
    assert the_turn().attempt == 2


async def test_a_reply_that_was_lost_and_begun_anew_is_an_error_not_a_muddle(
    client: openai.AsyncOpenAI, node: PlayedNode, servers: Servers
) -> None:
    async def lost() -> None:
        writing = await node.take()
        await writing.begin()
        await writing.say("One ", "two ")
        await asyncio.to_thread(until_told.wait)
        node.writer.close(writing.reply)
        servers.redis.delete(names.turn_stream(writing.job.turn))
        await asyncio.to_thread(turns.again, writing.job.turn, 1, "the node went away")
        second = await node.take()
        assert second.job.prefix == ""
        await second.begin()
        await second.say("Quite something else.")

    until_told = threading.Event()
    losing = asyncio.create_task(lost())
    stream = await client.chat.completions.create(model="stand-in", messages=ASKED, stream=True)
    said = ""
    while said != "One two ":
        said += (await anext(stream)).choices[0].delta.content or ""
    until_told.set()
    with pytest.raises(openai.APIError, match="begun anew"):
        await anext(stream)
    await losing
    await until_async(lambda: asyncio.to_thread(lambda: the_turn().stopped))


@pytest.mark.parametrize("streamed", [True, False])
async def test_hanging_up_stops_the_turn(
    client: openai.AsyncOpenAI, node: PlayedNode, servers: Servers, streamed: bool
) -> None:
    asking = asyncio.create_task(_listen(client, streamed))
    writing = await node.take()
    await writing.begin()
    await writing.say("One ", "two ")
    asking.cancel()
    await until_async(lambda: asyncio.to_thread(lambda: the_turn().stopped))

    async def told() -> bool:
        return (await writing.node.appender.append(Entry(writing.job.turn, 1))).value == "stop"

    await until_async(told)
    await writing.end(TurnState.CANCELLED)
    assert the_turn().state == TurnState.CANCELLED
    assert redis.client().scard(names.node_leases("home")) == 0


def _revoke(who: Member) -> None:
    [token] = tokens.listed(who.id)
    tokens.revoke(token.id, "test", Door.CLI)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("end", [_revoke, lambda who: accounts.disable(who.name, "test", Door.CLI)], ids=["revoked", "shut"])
async def test_a_token_that_ends_ends_what_it_has_open(
    client: openai.AsyncOpenAI, node: PlayedNode, ada: Member, end: Any, streamed: bool
) -> None:
    asking = asyncio.create_task(_listen(client, streamed))
    writing = await node.take()
    await writing.begin()
    await writing.say("One ")
    await asyncio.to_thread(end, ada)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(openai.APIError, match="has ended") as told:
            await asking
    assert (told.value.code, told.value.type) == ("invalid_api_key", "authentication_error")
    await until_async(lambda: asyncio.to_thread(lambda: the_turn().stopped))


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_token_that_ends_between_the_asking_and_the_listening_ends_it_alike(
    client: openai.AsyncOpenAI, node: PlayedNode, ada: Member, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    def headers(user: str) -> dict[str, str]:
        _revoke(ada)
        return {}

    monkeypatch.setattr("app.web.openai_chat.rate_headers", headers)
    with pytest.raises(openai.AuthenticationError, match="has ended") as told:
        await _listen(client, streamed)
    assert told.value.code == "invalid_api_key"
    await until_async(lambda: asyncio.to_thread(lambda: the_turn().stopped))


async def _listen(client: openai.AsyncOpenAI, streamed: bool) -> None:
    answer: Any = await client.chat.completions.create(model="stand-in", messages=ASKED, stream=streamed)
    async for _ in answer:
        pass


async def test_hanging_up_while_it_waits_takes_it_out_of_the_queue(
    client: openai.AsyncOpenAI, node: PlayedNode, servers: Servers
) -> None:
    await asyncio.to_thread(ready, "home", 0)
    asking = asyncio.create_task(_listen(client, streamed=True))
    await until_async(lambda: asyncio.to_thread(lambda: redis.client().scard(names.WAITING)))
    asking.cancel()
    await until_async(lambda: asyncio.to_thread(lambda: the_turn().state == TurnState.CANCELLED))
    await until_async(lambda: asyncio.to_thread(lambda: redis.client().scard(names.WAITING) == 0))


async def test_who_waits_hears_of_it_in_comments(
    site: Site, ada: Member, node: PlayedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.openai_stream.KEEP_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr("app.web.openai_stream.HOLD_SECONDS", 0.05)
    await asyncio.to_thread(ready, "home", 0)
    body = {"model": "stand-in", "messages": ASKED, "stream": True}
    headers = {"Authorization": f"Bearer {ada.token}"}
    async with httpx.AsyncClient(base_url=site.url, headers=headers, timeout=PATIENCE) as program:
        async with program.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            heard: set[str] = set()
            async for line in answer.aiter_lines():
                heard.add(line)
                if {": keep-alive", ": queued, place 1"} <= heard:
                    break


def refusals() -> Iterator[tuple[type[openai.APIStatusError], str, dict[str, Any]]]:
    def case(_: str, error: type[openai.APIStatusError], word: str, **more: Any) -> Any:
        return error, word, more

    bad = openai.BadRequestError
    yield case("model", openai.NotFoundError, "no model 'gpt-4'", model="gpt-4")
    yield case("tools", bad, "tools", tools=[{"type": "function", "function": {"name": "f"}}])
    yield case("logprobs", bad, "logprobs", logprobs=True)
    yield case("n", bad, "One reply", n=2)
    yield case("bias", bad, "logit_bias", logit_bias={"1": 5})
    yield case("temperature", bad, "temperature", temperature=9)
    yield case("tokens", bad, "max_tokens", max_tokens=0)
    yield case("stops", bad, "stop", stop=["a", "b", "c", "d", "e"])
    yield case("empty", bad, "messages", messages=[])
    yield case("no words", bad, "empty", messages=[{"role": "user", "content": "  "}])
    yield case("not the user's", bad, "user's", messages=[{"role": "assistant", "content": "x"}])
    yield case("a tool's", bad, "tools", messages=[{"role": "tool", "content": "x", "tool_call_id": "1"}])
    picture = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}
    yield case("an image", bad, "images", messages=[{"role": "user", "content": [picture]}])
    yield case("no schema", bad, "schema", response_format={"type": "json_schema", "json_schema": {"name": "x"}})
    yield case("grammar", bad, "response_format", response_format={"type": "grammar"})
    deep: Any = {}
    for _ in range(200):
        deep = {"items": deep}
    for name, schema in {"number": {"const": 10**30}, "deep": deep}.items():
        yield case(f"a schema: {name}", bad, "cannot be sent on", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    yield case("long", openai.APIStatusError, "40,000 characters", messages=[{"role": "user", "content": "x" * 40_000}])
    yield case("large", openai.APIStatusError, "larger", messages=[{"role": "user", "content": "x" * 1_100_000}])
    many = [{"role": "user", "content": "x"}] * 1500
    yield case("many", bad, "1,000 is the limit", messages=many)


@pytest.mark.parametrize("streamed", [True, False])
async def test_what_cannot_be_carried_out_is_refused_in_openais_shape(
    client: openai.AsyncOpenAI, streamed: bool
) -> None:
    for error, word, given in refusals():
        asked: dict[str, Any] = {"model": "stand-in", "messages": ASKED, "stream": streamed} | given
        with pytest.raises(error, match=word) as caught:
            await client.chat.completions.create(**asked)
        if error is openai.APIStatusError:
            assert caught.value.status_code == 413
        shown = caught.value.body
        assert isinstance(shown, dict)
        assert set(shown) == {"message", "type", "param", "code"}
    with transaction() as tx:
        assert tx.scalars(select(Turn)).all() == []
        assert tx.scalars(select(Session)).all() == []


async def test_what_changes_nothing_is_passed_over(client: openai.AsyncOpenAI, node: PlayedNode) -> None:
    asking = asyncio.create_task(
        client.chat.completions.create(
            model="stand-in",
            messages=ASKED,
            n=1,
            tools=[],
            user="someone",
            store=False,
            metadata={"a": "b"},
            logprobs=False,
            service_tier="auto",
            parallel_tool_calls=False,
            extra_body={"cache_prompt": True, "constructor": {"prototype": {}}},
        )
    )
    await node.answer("Yes.")
    assert (await asking).choices[0].message.content == "Yes."


async def test_no_token_or_a_wrong_one(client: openai.AsyncOpenAI, site: Site, ada: Member) -> None:
    for token in ("ml-nonsense", "x", ada.login):
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.with_options(api_key=token).models.list()
        assert caught.value.code == "invalid_api_key"
    # A cookie is a page's, and other sites' pages carry it along.
    async with site.browser(ada) as browser:
        answer = await browser.post("/v1/chat/completions", json={"model": "default", "messages": ASKED})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_no_node_is_told_at_once(site: Site, ada: Member) -> None:
    async with openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key=ada.token, max_retries=0) as client:
        assert (await client.models.list()).data == []
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="default", messages=ASKED)
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) > 0


async def test_nothing_is_kept_for_the_sake_of_a_refusal(
    client: openai.AsyncOpenAI, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits.set_limit("ada", "prompts", 0, "test", Door.CLI)
    begun: list[str] = []
    monkeypatch.setattr(conversations, "begin", lambda user, _: begun.append(user))
    with pytest.raises(openai.RateLimitError, match="prompts a minute"):
        await client.chat.completions.create(model="stand-in", messages=[{"role": "system", "content": "Be brief."}, *ASKED])
    assert begun == []


async def test_a_full_queue_is_a_rate_limit(
    client: openai.AsyncOpenAI, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEATLIZARD_WAITING_LIMIT", "1")
    settings.cache_clear()
    for _ in range(3):  # Two have the node's slots, one waits.
        ada.ask(ada.session())
    with pytest.raises(openai.RateLimitError) as caught:
        await client.chat.completions.create(model="default", messages=ASKED)
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) > 0
    with transaction() as tx:
        assert tx.scalar(select(func.count()).select_from(Session)) == 3, "nothing is kept of what was refused"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("why", "error", "code"),
    [
        (TOO_LONG, openai.BadRequestError, "context_length_exceeded"),
        (REFUSED, openai.BadRequestError, "turn_failed"),
        (None, openai.InternalServerError, "turn_failed"),
    ],
)
async def test_a_turn_that_fails_says_why_and_whether_to_ask_again(
    client: openai.AsyncOpenAI, node: PlayedNode, why: str | None, error: type[Exception], code: str, streamed: bool
) -> None:
    # With its retries: a client that asked again would find nobody to answer here, and wait.
    asking = asyncio.create_task(_listen(client.with_options(max_retries=2), streamed))
    writing = await node.take()
    await writing.begin()
    await writing.end(TurnState.FAILED, reason="It was too much.", finish_reason=why)
    with pytest.raises(error, match="It was too much") as caught:
        await asking
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert the_turn().state == TurnState.FAILED


async def test_a_client_that_is_turned_away_comes_again(client: openai.AsyncOpenAI, node: PlayedNode, ada: Member) -> None:
    await asyncio.to_thread(ready, "home", 2, state="starting")
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="stand-in", messages=ASKED)
    asking = asyncio.create_task(client.with_options(max_retries=5).chat.completions.create(model="stand-in", messages=ASKED))
    await asyncio.to_thread(ready, "home", 2)
    await node.answer("Here.")
    assert (await asking).choices[0].message.content == "Here."


async def test_an_unknown_path_is_an_error_in_the_same_shape(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.embeddings.create(model="stand-in", input="x")
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "invalid_request_error"


async def test_a_stop_pressed_elsewhere_ends_the_answer(client: openai.AsyncOpenAI, node: PlayedNode, ada: Member) -> None:
    asking = asyncio.create_task(client.chat.completions.create(model="stand-in", messages=ASKED))
    writing = await node.take()
    await writing.begin()
    await writing.say("Half")
    await asyncio.to_thread(turns.stop, writing.job.turn, ada.id)
    await writing.end(TurnState.CANCELLED)
    assert (await asking).choices[0].message.content == "Half"


async def test_a_person_who_is_shut_out_is_refused(client: openai.AsyncOpenAI, ada: Member) -> None:
    accounts.disable("ada", "test", Door.CLI)
    with pytest.raises(openai.AuthenticationError):
        await client.models.list()


def test_a_conversation_is_one_persons(servers: Servers, ada: Member, bob: Member) -> None:
    session, _ = conversations.begin(ada.id, [])
    with transaction() as tx:
        assert tx.get_one(Session, UUID(session)).user_id == UUID(ada.id)
