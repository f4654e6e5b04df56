"""The verbs that start, stop and look after a stack: `up`, `down`, `status`, `doctor`."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.local.errors import AlreadyRunning, LocalError
from app.local.home import Home, explain

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", envvar="MEATLIZARD_HOME", readable=False, help="The folder that holds all state; ~/.meatlizard if not given."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one object for programs.")]

#: Exit status of a start that was told to stop before it was done, as a shell has it for Ctrl-C.
INTERRUPTED = 130


class Lane(StrEnum):
    """How turns reach the nodes."""

    AUTO = "auto"
    QUEUE = "queue"
    DISCORD = "discord"


def register(app: typer.Typer) -> None:
    """Adds the verbs to the `meatlizard` command."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)
    app.command("doctor")(doctor)


def up(
    detach: Annotated[bool, typer.Option("--detach", help="Go on in the background.")] = False,
    home: HomeOption = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, envvar="MEATLIZARD_PORT", help="Port of the page; a free one if not given."),
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, max=16, help="How many nodes run on this machine. [1]")] = None,
    lane: Annotated[Lane | None, typer.Option(envvar="MEATLIZARD_LANE", help="How turns reach the nodes. [auto]")] = None,
) -> None:
    """Start everything on this machine: servers, page, workers and a node with its model."""
    # Loaded here: the other verbs need neither the servers nor the supervisor.
    from app.local import leftovers, stack, stop_signals, watch
    from app.local.progress import Progress

    with _errors(home) as place:
        # Whatever is made from here on, by this process or those it starts, is its owner's alone.
        os.umask(0o077)
        progress = Progress()
        first = not place.exists()
        place.make()
        try:
            with stack.starting(place):
                if stack.running(place):
                    _refuse_changes(place, port, nodes, lane)
                    _block(place, progress, "MeatLizard is already running", first=False, detached=True)
                    return
                stop_signals.listen()
                wanted = stack.Wanted(port, nodes or 1, lane.value if lane else _lane(place))
                stack.start(place, wanted, not detach, progress, stack.PARTS)
                since = watch.end_of_news(place)
                if not detach:
                    leftovers.write(place, leftovers.UP, os.getpid())
            _block(place, progress, "MeatLizard is running", first, detach)
            if not detach:
                watch.become(place, since)
        except stop_signals.StopAsked:
            stack.stop(place)
            leftovers.forget(place, leftovers.UP)
            progress.say("Stopped before it was up.")
            raise typer.Exit(INTERRUPTED) from None


def down(home: HomeOption = None) -> None:
    """Stop everything of the stack; nothing is lost, `up` goes on where it was."""
    from app.local import stack

    with _errors(home) as place:
        if not place.run.is_dir() or not stack.stop(place):
            typer.echo(f"Nothing runs in {place.path}.")
            return
        typer.echo("Stopped.")


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say what runs, where it is reached and which nodes answer."""
    from app.local import status as local_status

    with _errors(home) as place:
        if failed := local_status.say(place, as_json):
            raise typer.Exit(failed)


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Look every part over and say how to mend what is wrong."""
    from app.local import doctor as local_doctor

    with _errors(home) as place:
        findings = local_doctor.examine(place)
        if as_json:
            typer.echo(json.dumps(local_doctor.as_json(findings)))
        else:
            local_doctor.show(findings)
        if not all(finding.ok for finding in findings):
            raise typer.Exit(1)


@contextmanager
def _errors(given: Path | None) -> Iterator[Home]:
    """Gives the home meant; what goes wrong with it becomes one line and an exit status."""
    home: Home | None = None
    try:
        home = Home.at(given)
        yield home
    except LocalError as error:
        _fail(str(error), error.exit_status)
    except OSError as error:
        said = explain(error, home.path if home else Path())
        _fail(str(said), 1)


def _fail(line: str, exit_status: int) -> None:
    typer.echo(f"meatlizard: {line}", err=True)
    raise typer.Exit(exit_status)


def _refuse_changes(home: Home, port: int | None, nodes: int | None, lane: Lane | None) -> None:
    from app.local import settings, stack

    now = {"port": settings.load(home).web_port} | stack.kept(home)
    for option, asked in (("port", port), ("nodes", nodes), ("lane", lane.value if lane else None)):
        if asked is not None and asked != now.get(option, asked):
            raise AlreadyRunning(home.path, option, now[option])


def _lane(home: Home) -> str:
    from app.local import envfile

    given = envfile.read(home.settings).get("LANE") or Lane.AUTO.value
    if given not in list(Lane):
        raise LocalError(f"MEATLIZARD_LANE in {home.settings} is {given!r}: make it auto, queue or discord")
    return given


def _block(home: Home, progress: object, title: str, first: bool, detached: bool) -> None:
    from app.local import discord, settings
    from app.local.progress import Progress

    assert isinstance(progress, Progress)
    where = settings.load(home)
    if first:
        login = f"name {settings.ADMIN}, password {settings.admin_password(home)}  (kept in {home.admin_password})"
    else:
        login = f"name {settings.ADMIN}, password in {home.admin_password}"
    named = "" if home.path == Path.home() / ".meatlizard" else f" --home '{home.path}'"
    stop = f"{_command()} down{named}"
    progress.block(
        title,
        [
            ("Open", where.url),
            ("Log in", login),
            *([("Discord", _discord(home))] if discord.told(home) else []),
            ("Logs", str(home.logs)),
            ("Stop", stop if detached else f"Ctrl-C, or {stop}"),
        ],
    )


def _discord(home: Home) -> str:
    from app.local import discord, sandbox

    own, there = sandbox.load(home), discord.told(home) or {}
    if own is not None and "page" in there:
        return f"{own.way_in}  (a sandbox on this machine; your own server: docs/discord.md)"
    return f"server {there.get('guild')}"


def _command() -> str:
    """How this command is called from here: by its name where the shell would find it, else by its path."""
    script = Path(sys.executable).with_name("meatlizard")
    if shutil.which("meatlizard") or not script.exists():
        return "meatlizard"
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)
