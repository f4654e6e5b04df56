"""One command, and a real model answers; nothing of what is said lies anywhere in plain sight."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import redis
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import make_url

from app.local import envfile
from app.local.home import SETTINGS_FILE
from app.local.postgres import binaries
from app.wire import names
from tests.support import sandbox
from tests.support.reader import Reader
from tests.support.stack import Stack
from tests.support.waiting import until_async

PROMPT = "Repeat after me: xylophone-marmalade-quokka."
MARKERS = ("xylophone", "marmalade", "quokka")


def test_the_model_answers(stack: Stack) -> None:
    answer = stack.ask("Say hello.")
    assert answer["state"] == "done"
    assert answer["text"].strip()
    assert answer["node"] == "home"
    assert answer["tokens"] > 0
    assert answer["first_token_ms"] > 0


def test_a_session_goes_on(stack: Stack) -> None:
    first = stack.ask("My name is Ada.")
    second = stack.ask("What is my name?", "--session", first["session"])
    assert second["state"] == "done"
    assert second["session"] == first["session"]


def test_status_says_what_the_contract_promises(stack: Stack) -> None:
    status = stack.status_told()
    assert set(status) == set(stack.status())
    assert status["url"].startswith("http://127.0.0.1:")
    assert {"postgres", "redis", "s3", "web", "worker", "beat", "flower", "node", "llama.cpp"} <= set(status["processes"])
    assert {entry["state"] for entry in status["processes"].values()} == {"running"}
    assert set(status["services"]["s3"]) >= {"endpoint", "access_key", "secret_key", "bucket"}
    assert {"sandbox", "server-bot"} <= set(status["processes"])
    assert status["services"]["discord"]["api"].startswith("http://127.0.0.1:")
    assert status["services"]["discord"]["guild"] > 0
    [node] = status["nodes"]
    assert (node["name"], node["lane"], node["slots"], node["busy"]) == ("home", "queue", 2, 0)


def test_every_process_tells_its_figures(stack: Stack) -> None:
    found = httpx.get(f"{stack.status()['url']}/metrics", timeout=30).raise_for_status().text
    families = {family.name: family for family in text_string_to_metric_families(found)}
    who = {sample.labels["process"] for sample in families["meatlizard_process_resident_memory_bytes"].samples}
    assert {"web", "worker", "beat", "server-bot"} <= who
    [node] = families["meatlizard_node_up"].samples
    assert (node.labels, node.value) == ({"node": "home", "lane": "queue"}, 1.0)


def test_a_second_up_finds_the_first(stack: Stack) -> None:
    before = stack.status()["processes"]
    assert "already running" in stack.up().lower()
    assert stack.status()["processes"] == before


def test_doctor_finds_nothing_wrong(stack: Stack) -> None:
    assert stack.run("doctor").returncode == 0


async def test_no_plain_text_anywhere(stack: Stack) -> None:
    """After a turn, its transcript and a backup: not in PostgreSQL, Redis, the object store, Discord, logs, Flower or figures."""
    url, token = stack.status()["url"], stack.token()
    reader = await Reader(url, token).ask(PROMPT, {"max_tokens": 60, "temperature": 0.0})
    assert reader.ending["event"] == "done"
    # Words of the reply that occur nowhere else: found in a dump, they would have come from there.
    said = [word for word in re.findall(r"[A-Za-z]{9,}", reader.shown.decode()) if word.lower() not in VOCABULARY]
    needles = {needle.encode() for needle in (*MARKERS, *said)}
    assert len(needles) >= len(MARKERS)
    await until_async(lambda: asyncio.to_thread(lambda: any(one["content"] for one in sandbox.messages(stack))))
    async with httpx.AsyncClient(base_url=url, headers=reader.headers, timeout=30) as client:
        assert "marmalade" in (await client.get(f"/api/sessions/{reader.session}/transcript")).text
        (await client.post(f"/api/sessions/{reader.session}/close")).raise_for_status()
        figures = (await client.get("/metrics")).raise_for_status()
    await until_async(lambda: asyncio.to_thread(_stored, stack, reader.session))
    assert stack.run("backup", "now", "--no-prove").returncode == 0
    tasks = await asyncio.to_thread(_flower, stack)
    assert reader.session in "".join(task["args"] for task in tasks.values() if task["name"] == names.UPLOAD_TRANSCRIPT)
    shown = [("/metrics", figures.content), ("flower", json.dumps(tasks).encode())]
    places = [*shown, *_everything_kept(stack)]
    for part in ("s3/meatlizard/transcripts", "s3/meatlizard/backups", "logs/web", "logs/worker", "logs/node", "logs/server-bot"):
        assert any(f"/{part}" in place for place, _ in places), f"{part} was not looked into"
    for place, content in places:
        found = [needle for needle in needles if needle in content]
        assert not found, f"{found} in {place}"
    assert not sandbox.leaks(stack, MARKERS, reader.shown.decode())


def _stored(stack: Stack, session: str) -> bool:
    return any((stack.home / "data" / "s3").rglob(f"transcripts/{session}/*.sealed"))


def _flower(stack: Stack) -> dict[str, Any]:
    """Return all that Flower knows of the tasks, asked past the page."""
    known = envfile.read(stack.home / SETTINGS_FILE)
    url = f"http://127.0.0.1:{known['FLOWER_PORT']}/flower/api/tasks?limit=2000"
    found: dict[str, Any] = httpx.get(url, auth=("admin", known["FLOWER_PASSWORD"]), timeout=30).raise_for_status().json()
    return found


VOCABULARY = frozenset(["beginning", "assistant", "different", "following", "something", "available", "processes", "connected"])


def _everything_kept(stack: Stack) -> Iterator[tuple[str, bytes]]:
    services = stack.status()["services"]
    client = redis.Redis.from_url(services["redis"])
    keys = list(client.scan_iter())
    assert any(name.startswith(b"ml:stream:") for name in keys), "the streams are gone before they were read"
    for name in keys:
        # DUMP would compress long strings, and hide what is looked for.
        yield f"redis {name!r}", b"\n".join(_flat(_value(client, name)))
    dump = subprocess.run(
        [binaries() / "pg_dump", "--inserts", _libpq(services["postgres"])], capture_output=True, check=True
    ).stdout
    assert b"INSERT INTO public.messages" in dump
    yield "pg_dump", dump
    for path in _files(stack.home):
        # What belongs to a moment may be gone by now.
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.suffix not in (".gguf", ".sock"):
                yield str(path), path.read_bytes()


def _value(client: "redis.Redis", name: bytes) -> object:
    match client.type(name):
        case b"string":
            return client.get(name)
        case b"hash":
            return client.hgetall(name)
        case b"list":
            return client.lrange(name, 0, -1)
        case b"set":
            return client.smembers(name)
        case b"zset":
            return client.zrange(name, 0, -1)
        case b"stream":
            return client.xrange(name)
        case b"none":
            return b""  # It is gone since it was listed.
    raise AssertionError(f"a kind of key that is not looked into: {client.type(name)!r}")


def _flat(value: object) -> Iterator[bytes]:
    match value:
        case bytes():
            yield value
        case dict():
            yield from _flat([*value, *value.values()])
        case list() | tuple() | set():
            for one in value:
                yield from _flat(one)


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _files(folder: Path) -> list[Path]:
    return [Path(where) / name for where, _, names in os.walk(folder) for name in names]
