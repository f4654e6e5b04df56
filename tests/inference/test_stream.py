"""Bytes to events to chunks, wherever the network cuts them; what the log keeps; why a process ended."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from tests.fakes.llama import reply_text
from tests.inference.conftest import ask, hear, running, stand_in
from workers.inference.engine import End, EngineRefused, EngineSettings, PromptTooLong, Text
from workers.inference.engine.chunks import ChunkReader
from workers.inference.engine.exits import ExitKind, classify
from workers.inference.engine.generate import EAGER_REPLIES, REST_SECONDS, Repeat, rest_seconds
from workers.inference.engine.log import LAST_LINES, EngineLog, scrub
from workers.inference.engine.sse import EVENT_BYTES, EventReader, EventTooLong

TEXT = "Grüße 🦎 from 灯台"


def event(content: str) -> bytes:
    return b"data: " + orjson.dumps({"choices": [{"delta": {"content": content}}]}) + b"\n\n"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_a_stream_may_be_cut_anywhere(size: int, newline: bytes) -> None:
    raw = b": ping\n\n".join(event(letter) for letter in TEXT) + b"data: [DONE]\n\n"
    raw = raw.replace(b"\n", newline)
    events, chunks, text = EventReader(), ChunkReader(), ""
    for start in range(0, len(raw), size):
        for chunk in chunks.take(events.feed(raw[start : start + size])):
            assert isinstance(chunk, Text)
            text += chunk.text
    assert text == TEXT
    assert chunks.done


def test_text_that_comes_together_stays_together() -> None:
    assert ChunkReader().take(EventReader().feed(event("a") + event("b"))) == [Text("ab")]


def test_pings_are_no_events() -> None:
    assert EventReader().feed(b": ping\n\n:\n\n\n\n") == []


def test_an_event_without_an_end_is_given_up() -> None:
    with pytest.raises(EventTooLong):
        EventReader().feed(b"x" * (EVENT_BYTES + 1))


def test_half_an_emoji_of_another_server_is_a_replacement_character() -> None:
    payload = b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}'
    assert ChunkReader().take([payload]) == [Text("a\ufffd")]


@pytest.mark.parametrize("payload", [b"nonsense", b"[1]", b'{"error":{"code":500,"message":"x"}}', b'"text"'])
def test_what_is_no_reply_is_an_error(payload: bytes) -> None:
    with pytest.raises(EngineRefused):
        ChunkReader().take([payload])


def test_a_full_context_in_the_middle_says_so() -> None:
    error = b'{"error":{"code":400,"type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":5}}'
    with pytest.raises(PromptTooLong, match="9 tokens"):
        ChunkReader().take([error])


def test_figures_are_optional() -> None:
    reader = ChunkReader()
    reader.take([b'{"choices":[{"finish_reason":"stop","delta":{}}],"usage":null}', b"[DONE]"])
    end = reader.end()
    assert isinstance(end, End)
    assert end.finish_reason == "stop"
    assert end.usage.completion_tokens == 0


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["Once upon", " a time"], " a time"),
        (["Onc", "e up", "on a", " time"], " a time"),
        (["Once more"], "Once more"),
        ([" a time"], " a time"),
        (["Once"], "Once"),
    ],
)
def test_a_repeated_beginning_is_taken_off(pieces: list[str], text: str) -> None:
    repeat = Repeat("Once upon")
    assert "".join(repeat.strip(one) if repeat.pending else one for one in pieces) + repeat.rest() == text


@pytest.mark.parametrize(
    "line",
    [
        "0.08.797.881 I slot launch_slot_: id  1 | task 25 | processing task, is_child = 0",
        "0.08.952.120 I slot print_timing: id  1 | task 25 | prompt eval time =      82.62 ms /    19 tokens",
        "srv  update_slots: all slots are idle",
        "ggml_metal: error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
        "/src/ggml-cuda.cu:88: CUDA error",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_lines_about_the_server_are_kept(line: str) -> None:
    assert scrub(line) == line


@pytest.mark.parametrize(
    "line",
    [
        "my secret",
        "WARNING: JSON schema conversion was incomplete: pattern secret is not supported",
        '0.1 W srv operator(): got exception: {"error":{"code":400,"message":"secret","type":"invalid_request_error"}}',
        "0.08.952.481 W srv    operator(): unexpected; last read: '\"secret'",
        '0.08.952.481 D srv  log_server_r: request:  {"messages": ["secret"]}',
        "0.08.952.481 E common_chat_parse: Failed to parse input: secret",
    ],
)
def test_lines_that_may_quote_lose_what_they_quote(line: str) -> None:
    assert "secret" not in (scrub(line) or "")


def test_an_error_keeps_its_code_and_type() -> None:
    line = '0.09.047.272 W srv    operator(): got exception: {"error":{"code":400,"message":"x","type":"bad_thing"}}'
    assert scrub(line) == "0.09.047.272 W srv    operator(): got exception: 400 bad_thing"


def test_the_log_keeps_the_last_lines_however_they_come(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "llama.log")
    log.feed("".join(f"line {number} ü\n" for number in range(70)).encode() + b"half a \xc3")
    log.feed(b"\xbc line")
    log.finish()
    assert len(log.last()) == LAST_LINES
    assert log.last()[-2:] == ("line 69 ü", "half a ü line")
    assert (tmp_path / "llama.log").read_text().count("\n") == 71


@pytest.mark.parametrize(
    ("status", "lines", "ready", "kind"),
    [
        (-9, ["anything"], True, ExitKind.killed),
        (-6, ["ggml_metal: error: Insufficient Memory"], True, ExitKind.out_of_memory),
        (1, ["failed to allocate buffer for kv cache", "failed to load model"], False, ExitKind.out_of_memory),
        (1, ["error loading model: tensor data is not within the file bounds"], False, ExitKind.model),
        (1, ["couldn't bind HTTP server socket"], False, ExitKind.port),
        (1, ["error: invalid argument: --kv-unified"], False, ExitKind.options),
        (-11, ["all is well"], True, ExitKind.crashed),
        (0, [], True, ExitKind.crashed),
    ],
)
def test_causes_are_told_apart(status: int, lines: list[str], ready: bool, kind: ExitKind) -> None:
    exit_ = classify(status, lines, ready=ready, hung=False, stopped=False)
    assert exit_.kind is kind
    assert "\n" not in str(exit_)
    assert exit_.hopeless == (kind in (ExitKind.model, ExitKind.options))


def test_a_signal_is_named() -> None:
    assert "SIGSEGV" in str(classify(-signal.SIGSEGV, [], ready=True, hung=False, stopped=False))


def test_few_replies_are_read_word_by_word_and_many_are_left_alone_for_a_moment() -> None:
    assert rest_seconds(1) == rest_seconds(EAGER_REPLIES) == 0
    assert 0 < rest_seconds(EAGER_REPLIES + 1) < rest_seconds(100) <= rest_seconds(400) == REST_SECONDS


async def test_replies_that_are_left_alone_lose_nothing(settings: EngineSettings) -> None:
    many = 2 * EAGER_REPLIES
    async with stand_in(slots=many, length=30) as (_, url), running(replace(settings, model=None, llama_url=url)) as engine:
        questions = [f"What of {number}?" for number in range(many)]
        heard = await asyncio.gather(*(hear(engine, ask(question, max_tokens=30)) for question in questions))
    for question, reply in zip(questions, heard, strict=True):
        assert reply.text == reply_text([{"role": "user", "content": question}], 30, 1)
