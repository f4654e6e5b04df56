"""Every way in, found by walking: routes, socket messages, slash commands, verbs; each with the right it asks for."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from app.services.rights import Right
from app.verbs import app as command_line
from app.web import messages
from app.web.main import MODULES
from bots.server.commands.offered import NOUNS

ANYONE = "anyone"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "roles.md"
_ROW = re.compile(r"\| `([^`]+)` \| `?([a-z ]+?)`? \|\s*$")


def documented(heading: str) -> dict[str, str]:
    """The table below a heading of the document: the way in, and what it asks for."""
    part = DOCUMENT.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return {found[1]: found[2] for line in part.splitlines() if (found := _ROW.match(line))}


def routes() -> dict[str, str]:
    found = {}
    for module in MODULES:
        for route in module.router.routes:
            rights = {right.value for right in _rights(route.dependant)}
            assert len(rights) <= 1, f"{route.path} asks for {rights}"
            for method in getattr(route, "methods", None) or ["WEBSOCKET"]:
                found[f"{method} {route.path}"] = rights.pop() if rights else ANYONE
                rights = {right.value for right in _rights(route.dependant)}
    return found


def _rights(dependant: Any) -> Iterator[Right]:
    if right := getattr(dependant.call, "right", None):
        yield right
    for one in dependant.dependencies:
        yield from _rights(one)


def socket_messages() -> set[str]:
    return {
        one.model_fields["type"].annotation.__args__[0]  # type: ignore[union-attr]
        for one in vars(messages).values()
        if isinstance(one, type) and issubclass(one, messages._Strict) and "type" in one.model_fields
    }


class _Asked(Exception):
    """A command has come to the point where it asks who somebody is."""


class _People:
    """Stands where commands look people up, and notes which right they ask for."""

    def __getattr__(self, name: str) -> Any:
        async def look(*given: Any, **named: Any) -> None:
            rights = [one for one in (*given, *named.values()) if isinstance(one, Right)]
            raise _Asked(ANYONE if name == "whisper_anyone" else (rights or [Right.CHAT])[0].value)

        return look


class _Anything:
    """An interaction of which a command may take whatever it wants before it asks."""

    def __getattr__(self, name: str) -> Any:
        return _Anything()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return _Anything()

    def __await__(self) -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return _Anything()


async def slash_commands() -> dict[str, tuple[str, bool]]:
    """Each slash command: the right it asks for, and whether Discord shows it to administrators only."""
    found = {}
    people: Any = _People()
    for noun in NOUNS:
        for command in noun.commands(people):
            for one in getattr(command, "commands", [command]):
                try:
                    await one.callback(_Anything(), **{option.name: _Anything() for option in one.parameters})
                except _Asked as asked:
                    hidden = (one.default_permissions or command.default_permissions) is not None
                    found[f"/{one.qualified_name}"] = (str(asked), hidden)
                else:
                    raise AssertionError(f"/{one.qualified_name} asks nobody who they are")
    return found


def verbs() -> set[str]:
    return {f"meatlizard {verb}" for verb in _walk(typer.main.get_command(command_line), "")}


def _walk(command: Any, path: str) -> Iterator[str]:
    below = getattr(command, "commands", None)
    if below is None or command.invoke_without_command:
        yield path.strip()
    for name, one in (below or {}).items():
        yield from _walk(one, f"{path} {name}")
