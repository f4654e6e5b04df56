"""`meatlizard node`: the node's process, and how nodes join, rest and leave."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from app import processes
from app.commands.home import Home

app = typer.Typer(help="Answer prompts on this machine; and which machines do.", invoke_without_command=True)

ACTOR = "cli"
"""Who did it, as the audit trail has it."""

Json = Annotated[bool, typer.Option("--json", help="Print one object for programs.")]


@app.callback()
def node(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Option("--name", envvar="MEATLIZARD_NODE", help="Which of this machine's nodes. [the only one, else home]"),
    ] = None,
    home: Home = None,
) -> None:
    """Answer prompts on this machine; below: join, and look after the nodes."""
    if context.invoked_subcommand is not None:
        return
    processes.node(name or _only_one())


@app.command("invite")
def node_invite(
    name: Annotated[str, typer.Argument(help="What the node shall be called: small letters, digits, dashes.")],
    slots: Annotated[int, typer.Option(min=1, max=512, help="How many turns it takes at once.")] = 2,
    lane: Annotated[str, typer.Option(help="queue, discord, or auto: the ways it is given.")] = "auto",
    redis: Annotated[
        str | None, typer.Option(help="Where the node reaches the platform's Redis, as HOST:PORT. [as the platform does]")
    ] = None,
    discord_token: Annotated[
        str | None,
        typer.Option(envvar="MEATLIZARD_NEW_NODE_TOKEN", help="The token of the node's own bot; - asks for it."),
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Make a node known, and print the one line with which it joins."""
    import json

    from app.local import inviting
    from app.services import joining
    from app.wire.states import Door

    if discord_token == "-":
        discord_token = typer.prompt("Token of the node's bot", hide_input=True, err=True)
    ways = inviting.ways(name, lane, redis, discord_token)
    line = joining.invite(name, slots, ways.redis, ways.bot, ACTOR, Door.CLI)
    if as_json:
        typer.echo(json.dumps({"node": name, "invitation": line, "queue": ways.redis, "discord": ways.bot is not None}))
        return
    typer.echo(line)
    for said in (*ways.notes, f"On the other machine: `meatlizard node join`, and paste this line; then `meatlizard node`. {KEEP}"):
        typer.echo(said, err=True)


KEEP = "Keep it like a password; `meatlizard node remove` ends it."


@app.command("join")
def node_join(
    line: Annotated[str, typer.Argument(help="The line that `meatlizard node invite` printed; asked for if left out.")] = "",
    model: Annotated[Path | None, typer.Option(help="The .gguf file it shall answer with. [the small one]")] = None,
    home: Home = None,
) -> None:
    """Keep an invitation on this machine; `meatlizard node` answers prompts from then on."""
    from app.local import joining

    if not line or line == "-":
        line = typer.prompt("Invitation", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    joined = joining.join(line, model)
    named = f" --home '{os.environ['MEATLIZARD_HOME']}'" if os.environ.get("MEATLIZARD_HOME") else ""
    typer.echo(f"This machine is the node {joined.name} now, with {joined.model}. Start it: meatlizard node{named}")


@app.command("list")
def node_list(as_json: Json = False, home: Home = None) -> None:
    """Show the nodes and how they are."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from app.local import status
    from app.services import nodes

    listed = nodes.listed()
    if as_json:
        typer.echo(json.dumps({"nodes": [asdict(one) for one in listed]}))
    elif listed:
        Console(highlight=False).print(status.nodes_table([asdict(one) for one in listed]))
    else:
        typer.echo("There is no node yet: `meatlizard up` makes one, `meatlizard node invite` invites others.")


@app.command("drain")
def node_drain(
    name: str,
    undo: Annotated[bool, typer.Option("--undo", help="Give it turns again.")] = False,
    home: Home = None,
) -> None:
    """Let a node finish what it has, and give it no more."""
    from app.services import nodes
    from app.wire.states import Door

    (nodes.undrain if undo else nodes.drain)(name, ACTOR, Door.CLI)
    typer.echo(f"{name} is given turns again." if undo else f"{name} finishes what it has and is given no more.")


@app.command("remove")
def node_remove(name: str, home: Home = None) -> None:
    """Shut a node out for good: its login ends, and what it says in Discord is not believed any more."""
    from app.services import joining
    from app.wire.states import Door

    joining.remove(name, ACTOR, Door.CLI)
    typer.echo(f"{name} is shut out. Had it a bot in Discord of its own, reset that one's token in the developer portal too.")


def _only_one() -> str:
    """Return the only node of this machine where there is one."""
    from workers.inference.settings import home

    found = [path.stem for path in (home() / "nodes").glob("*.env")]
    return found[0] if len(found) == 1 else "home"
