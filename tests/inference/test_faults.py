"""Bad days of a llama-server: silence, lack of memory, garbage, errors, and prompts that only take long."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.llama import reply_text
from tests.inference.conftest import Heard, ask, hear, running, stand_in, until
from tests.support.waiting import PATIENCE
from workers.inference.engine import (
    Engine,
    EngineCrashed,
    EngineDied,
    EngineError,
    EngineHung,
    EngineRefused,
    EngineSettings,
    EngineState,
    EngineUnreachable,
    GenerateRequest,
    Text,
    probe,
)


@pytest.fixture
def remote(settings: EngineSettings) -> EngineSettings:
    """For a stand-in that is there already."""
    return replace(settings, model=None, ctx_size=4096)


async def test_the_stand_in_is_heard_as_it_speaks(remote: EngineSettings) -> None:
    async with stand_in() as (fake, url), running(replace(remote, llama_url=url)) as engine:
        request = ask("Hello", max_tokens=40)
        heard = await hear(engine, request)
        assert heard.text == reply_text(request.messages, 40, seed=1) == fake.made[0]["text"]
        assert heard.end is not None
        assert heard.end.usage.completion_tokens == 40
        carried_on = await hear(engine, ask("Hello", heard.text[:77], max_tokens=90))
        assert heard.text[:77] + carried_on.text == reply_text(request.messages, 100, seed=1)


@pytest.mark.parametrize("address", ["{}", "{}/", "{}/v1"])
async def test_another_server_gets_no_parameter_it_may_not_know(remote: EngineSettings, address: str) -> None:
    async with stand_in(foreign=True) as (fake, url):
        async with running(replace(remote, llama_url=address.format(url), model_name="gpt")) as engine:
            heard = await hear(engine, ask("Hello", max_tokens=4, top_k=3))
            assert heard.text
            assert await engine.wait_slot_free()
            known = {"model", "messages", "stream", "stream_options", "max_tokens", "temperature", "seed"}
            assert set(next(body for body in fake.bodies if "seed" in body)) == known
            long = ask("word " * 4000)
            with pytest.raises(EngineError, match="too long"):
                await engine.fit(long)


@pytest.mark.parametrize("counts_on", [True, False])
async def test_another_server_carries_a_reply_on_only_where_it_was_seen_to(
    remote: EngineSettings, monkeypatch: pytest.MonkeyPatch, counts_on: bool
) -> None:
    if counts_on:  # What this stand-in goes on with is its own.
        so_far = reply_text([probe.COUNT_ON], 5)
        monkeypatch.setattr(probe, "COUNTED", so_far)
        monkeypatch.setattr(probe, "NEXT", reply_text([probe.COUNT_ON], 6).removeprefix(so_far).strip().lower())
    async with stand_in(foreign=True) as (_, url), running(replace(remote, llama_url=url, model_name="gpt")) as engine:
        await until(lambda: engine.supervisor.tried is not None)
        assert engine.continues == counts_on
        whole = reply_text(ask("Hello").messages, 9, seed=1)
        if counts_on:
            assert whole[:20] + (await hear(engine, ask("Hello", whole[:20], max_tokens=90))).text
        else:
            with pytest.raises(EngineRefused):
                await hear(engine, ask("Hello", whole[:20]))


async def test_another_server_that_is_not_known_yet_begins_anew(remote: EngineSettings) -> None:
    async with stand_in(foreign=True, first_ms=60_000.0) as (_, url), running(replace(remote, llama_url=url)) as engine:
        assert not engine.continues


@pytest.mark.parametrize("foreign", [True, False])
async def test_a_server_with_models_of_its_own_is_asked_for_one_by_its_name(remote: EngineSettings, foreign: bool) -> None:
    async with stand_in(foreign=foreign) as (fake, url), running(replace(remote, llama_url=url)) as engine:
        assert (await hear(engine, ask("Hello", max_tokens=4))).text
        assert engine.health().model == fake.bodies[0]["model"] == "stand-in"
    async with stand_in(foreign=foreign) as (fake, url), running(replace(remote, llama_url=url, model_name="gpt")) as engine:
        assert (await hear(engine, ask("Hello", max_tokens=4))).text
        assert engine.health().model == fake.bodies[0]["model"] == "gpt"


async def test_silence_is_a_hang_and_pings_are_silence(remote: EngineSettings) -> None:
    impatient = replace(remote, hang_seconds=0.3, prompt_hang_seconds=0.6)
    async with stand_in() as (_, url), running(replace(impatient, llama_url=url)) as engine:
        with pytest.raises(EngineHung) as caught:
            await hear(engine, ask("!hang"))
        assert caught.value.retry
        assert engine.busy == 0


async def test_a_hung_child_is_restarted(settings: EngineSettings, llama_server: Path) -> None:
    settings = replace(settings, llama_server=llama_server, hang_seconds=0.3, prompt_hang_seconds=5.0)
    async with running(settings) as engine:
        pid = engine.health().pid
        with pytest.raises(EngineHung):
            await hear(engine, ask("!hang"))
        assert engine.health().pid != pid
        assert (await hear(engine, ask("Hello", max_tokens=3))).text
        assert engine.health().restarts == 1
        assert "hung" in engine.health().last_error


@pytest.mark.parametrize("word", ["slow", "quiet"])
async def test_a_prompt_that_takes_long_is_no_hang(remote: EngineSettings, word: str) -> None:
    """With progress there are signs of life; without, the slot is seen to get on."""
    async with stand_in() as (_, url), running(replace(remote, llama_url=url, prompt_hang_seconds=0.6)) as engine:
        heard = await hear(engine, ask(f"!{word}=1.5", max_tokens=3))
        assert heard.end is not None
        assert len(heard.progress) > (10 if word == "slow" else 0)


@pytest.mark.parametrize(("word", "cause"), [("oom", "out of memory"), ("crash", "SIGSEGV")])
async def test_a_dying_child_says_why(settings: EngineSettings, llama_server: Path, word: str, cause: str) -> None:
    async with running(replace(settings, llama_server=llama_server)) as engine:
        heard = Heard()
        with pytest.raises(EngineCrashed, match=cause) as caught:
            await hear(engine, ask(f"!{word} secret"), heard)
        # What came before stays valid, and the next attempt goes on from there.
        assert heard.text == reply_text(ask(f"!{word} secret").messages, 3, seed=1)
        assert caught.value.log
        assert "secret" not in caught.value.report()
        assert (await hear(engine, ask("Hello", max_tokens=3))).text
        assert cause in engine.health().last_error


@pytest.mark.parametrize(
    ("prompt", "error"), [("!garbage", EngineRefused), ("!error", EngineRefused), ("!drop", EngineDied)]
)
async def test_nonsense_is_an_error_and_disturbs_nothing_else(
    remote: EngineSettings, prompt: str, error: type[EngineError]
) -> None:
    async with stand_in() as (_, url), running(replace(remote, llama_url=url)) as engine:
        with pytest.raises((error, EngineUnreachable)) as caught:
            await hear(engine, ask(prompt))
        assert caught.value.retry
        assert "\n" not in str(caught.value)
        assert (await hear(engine, ask("Hello", max_tokens=3))).text


async def test_a_reply_that_takes_for_ever_is_given_up(remote: EngineSettings) -> None:
    async with stand_in(rate=5.0) as (_, url), running(replace(remote, llama_url=url)) as engine:
        request = ask("Hello", max_tokens=90)
        with pytest.raises(EngineDied, match="longer than"):
            await hear(engine, GenerateRequest(request.messages, request.sampling, deadline_seconds=0.5))


async def test_closing_a_reply_closes_the_connection_at_once(remote: EngineSettings) -> None:
    # Two seconds for the whole reply: a machine that is busy must not let it end by itself.
    async with stand_in(rate=50.0) as (fake, url), running(replace(remote, llama_url=url)) as engine:
        async with aclosing(engine.generate(ask("Hello", max_tokens=100))) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Text):
                    break
        assert await engine.wait_slot_free(PATIENCE)
        await until(lambda: not fake.streams)
        assert fake.made[0]["tokens"] < 100


async def test_a_server_that_goes_away_and_comes_back(remote: EngineSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.inference.engine.supervisor.REMOTE_POLL_SECONDS", 0.05)
    async with stand_in() as (fake, url):
        port = int(url.rpartition(":")[2])
        engine = Engine(replace(remote, llama_url=url))
        await engine.start()
        await fake.stop()
        await until(lambda: engine.state is EngineState.degraded)
        with pytest.raises(EngineUnreachable, match="MEATLIZARD_LLAMA_URL"):
            await hear(engine, ask("Hello"))
        async with stand_in(port=port):
            await until(lambda: engine.state is EngineState.ready)
            assert (await hear(engine, ask("Hello", max_tokens=3))).text
    await engine.stop()
