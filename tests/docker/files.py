"""Reading the files in docker/ the way their own programs do."""

import re
import shlex
from pathlib import Path
from typing import Any

import typer
import yaml

from app.verbs import app

DOCKER = Path(__file__).resolve().parents[2] / "docker"
REPOSITORY = DOCKER.parent
PLATFORM = "compose.platform.yml"
NODE = "compose.node.yml"
TUNNEL = "compose.tunnel.yml"
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)(?::([-?])([^}]*))?\}")


def text(name: str) -> str:
    return (DOCKER / name).read_text(encoding="utf-8")


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text(name))
    return found


def services(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose(name)["services"]
    return found


def sample(name: str) -> dict[str, str]:
    """The settings of a sample file, those in comments included."""
    found = re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", text(name), re.MULTILINE)
    return dict(found)


def shell_line(value: str | list[str]) -> str:
    """A command or check as one shell line, `$$` undone."""
    words = value if isinstance(value, str) else words_of(value)
    return words.replace("$$", "$")


def words_of(value: list[str]) -> str:
    if value[0] == "CMD-SHELL":
        return value[1]
    if value[:2] == ["sh", "-c"]:
        return value[2]
    return shlex.join(value[1:] if value[0] == "CMD" else value)


def filled(value: str, values: dict[str, str]) -> str:
    """Compose's `${NAME:-default}` and `${NAME:?message}` replaced."""

    def one(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        given = values.get(name, "")
        assert given or kind != "?", f"{name} is not set: {rest}"
        return given or (rest or "" if kind == "-" else "")

    return VARIABLE.sub(one, value)


def verbs() -> dict[str, Any]:
    """Every verb of the `meatlizard` command."""
    group: Any = typer.main.get_command(app)
    found: dict[str, Any] = group.commands
    return found


def routes() -> set[str]:
    """Every address that the web process answers."""
    from app.web.main import create

    found: set[str] = set()
    pending: list[Any] = list(create().routes)
    while pending:
        route = pending.pop()
        if path := getattr(route, "path", None):
            found.add(path)
        # FastAPI keeps an included router as one entry with its own routes below.
        router = getattr(route, "original_router", None)
        pending += getattr(router, "routes", [])
    return found
