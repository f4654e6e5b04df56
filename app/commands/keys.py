"""`meatlizard keys`: the master key ring."""

from collections.abc import Callable
from typing import Annotated

import typer

from app.commands.home import Home

app = typer.Typer(help="The master key ring.", no_args_is_help=True)

LOOK_SECONDS = 0.5
"""Between two looks at how far it is."""
NODES_SECONDS = 60.0
"""How long nodes that are here may take to fetch the new key."""


@app.command("new")
def keys_new() -> None:
    """Print a fresh key; put it in front of MEATLIZARD_KEYS."""
    from cryptography.fernet import Fernet

    typer.echo(Fernet.generate_key().decode())


@app.command("rotate")
def keys_rotate(
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for nodes that are away.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    home: Home = None,
) -> None:
    """Change the master key while everything runs, seal anew all that is kept, and forget the old key."""
    from app.services import rotation
    from app.wire.states import Door

    _watch(lambda: rotation.begin("cli", Door.CLI), wait, as_json)


@app.command("reseal")
def keys_reseal(
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False, home: Home = None
) -> None:
    """Seal anew what older keys sealed, after another key was put in front of MEATLIZARD_KEYS by hand."""
    from app.services import rotation
    from app.wire.states import Door

    _watch(lambda: rotation.begin_by_hand("cli", Door.CLI), 0, as_json)


def _watch(begin: Callable[[], None], wait: float, as_json: bool) -> None:
    import json
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from app import logs
    from app.services import rotation
    from app.wire.errors import Busy

    logs.configure("keys", "WARNING")
    words = {
        "learn": "Everybody learns the new key",
        "reseal": "Sealing anew",
        "settle": "Waiting for the turns begun before",
        "check": "Looking once more",
        "done": "Done",
    }
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    begin()
    changed, phase, pushed = time.monotonic(), "", False
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as bars:
        bar = bars.add_task("", total=None)
        while (found := rotation.advance(push_on=pushed)).phase != "done":
            said = words[found.phase] + (f" ({found.waiting})" if found.waiting else "")
            bars.update(bar, description=said, total=found.total or None, completed=found.done)
            step = f"{found.phase} {found.over}"
            changed, phase = (time.monotonic(), step) if step != phase else (changed, phase)
            pushed = time.monotonic() - changed > NODES_SECONDS
            if found.over and time.monotonic() - changed > (NODES_SECONDS if found.here else wait):
                break
            time.sleep(LOOK_SECONDS)
    if as_json:
        typer.echo(json.dumps({"phase": found.phase, "waiting_for": list(found.lagging)}))
    elif found.phase == "done":
        typer.echo("There is a new master key, and the old one opens nothing that is kept. Copy meatlizard.env again.")
    if found.phase != "done":
        raise Busy(
            f"The old key stays until these nodes have the new one: {', '.join(found.lagging)}. They are handed it when "
            "they are here; run `meatlizard keys rotate` again then, or `meatlizard node remove NAME`."
        )
