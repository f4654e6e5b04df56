"""`up` with stand-ins for our own processes and the platform's code; the servers and the supervisor are real.

Run as a program by the tests: `python up.py [--detach] [--home DIR] [--port N]`.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from app.local import commands, settings, stack
from app.local.home import Home
from app.local.program import Program
from app.local.settings import Settings

FAKE = Path(__file__).with_name("program.py")


class FakePlatform:
    def __init__(self, home: Home, environment: dict[str, str]) -> None:
        pass

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"node_keys": {node["name"]: "keys" for node in request["nodes"]}}

    def close(self) -> None:
        pass


def programs(home: Home, wanted: stack.Wanted) -> list[Program]:
    port = settings.load(home).web_port
    return [
        Program(name, [sys.executable, str(FAKE), name, str(port if name == "web" else 0)], start_seconds=1)
        for name in ("web", "worker")
    ]


def checks(known: Settings, wanted: stack.Wanted, instance: str) -> dict[str, Callable[[], None]]:
    return {"web": stack.our_checks(known, wanted, instance)["web"]}


def main() -> None:
    stack.PARTS = stack.Parts(programs, checks, platform=FakePlatform, discord=lambda *_: (None, None))
    app = typer.Typer()
    commands.register(app)
    app()


if __name__ == "__main__":
    main()
