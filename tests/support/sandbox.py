"""The sandbox of a stack, asked as its own page asks it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from tests.support.stack import Stack

PIECE = 20
"""Characters of a reply that are looked for together: words alone may be a program's own."""


def ask(stack: Stack, path: str, **query: Any) -> Any:
    """Return what the control API answers."""
    settings = json.loads((stack.home / "sandbox.json").read_text())
    headers = {"Authorization": f"Bearer {settings['control_token']}"}
    url = f"http://127.0.0.1:{settings['port']}/sandbox/{path}"
    return httpx.get(url, headers=headers, params=query, timeout=30).raise_for_status().json()


def messages(stack: Stack) -> list[dict[str, Any]]:
    """Return every message there is."""
    found: list[dict[str, Any]] = ask(stack, "dump")["messages"]
    return found


def holds(stack: Stack, words: str) -> list[Any]:
    """Return where words stand or stood: in records, files, requests and events."""
    found: list[Any] = ask(stack, "search", q=words)["hits"]
    return found


def kept(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Give all that the sandbox has: what it serves, and its files."""
    yield "sandbox", json.dumps(ask(stack, "dump"), ensure_ascii=False).encode()
    for path in (stack.home / "data" / "sandbox").rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()


def say(stack: Stack, words: str) -> None:
    """Say something in #general as a person."""
    settings = json.loads((stack.home / "sandbox.json").read_text())
    httpx.post(
        f"http://127.0.0.1:{settings['port']}/sandbox/messages",
        headers={"Authorization": f"Bearer {settings['control_token']}"},
        json={"member": "ada", "channel": "general", "content": words},
    ).raise_for_status()


def leaks(stack: Stack, words: tuple[str, ...], reply: str) -> list[str]:
    """Return what of a prompt's words and a reply can be found in the sandbox, and where."""
    pieces = [reply[at : at + PIECE] for at in range(0, len(reply) - PIECE, PIECE)]
    assert pieces, "the reply is too short to be looked for"
    places = list(kept(stack))
    found = []
    for needle in (*words, *pieces):
        found += [f"{needle!r} in {place}" for place, content in places if needle.encode() in content]
        found += [f"{needle!r} in {hit}" for hit in holds(stack, needle)]
    return found
