"""`meatlizard limit`: how much people may use."""

from typing import Annotated

import typer

from app import printed
from app.commands.home import Home

app = typer.Typer(help="How much people may use.", no_args_is_help=True)


@app.command("list")
def limit_list(home: Home = None) -> None:
    """Show the limits."""
    from rich.console import Console
    from rich.table import Table

    from app.services import limits

    shown = Table("whose", "prompts a minute", "tokens a day", "turns at once", "pages at once", "tries to sign in")
    for _, name, held, changed in limits.table():
        words = ["-" if kind not in held else "none" if held[kind] is None else f"{held[kind]:,}" for kind in limits.Kind]
        printed.row(shown, name, *(f"{word} (set)" if kind in changed else word for kind, word in zip(limits.Kind, words, strict=True)))
    Console().print(shown)


@app.command("set")
def limit_set(
    scope: Annotated[str, typer.Argument(help="A role, a user's name, token:ID, address or name.")],
    kind: Annotated[str, typer.Argument(help="prompts (a minute), tokens (a day), turns (at once), sockets (pages at once) or tries (to sign in).")],
    value: Annotated[str, typer.Argument(help="A number, none or default.")],
    home: Home = None,
) -> None:
    """Change a limit; it holds within two seconds."""
    from app.services import limits
    from app.wire.states import Door

    limits.set_limit(scope, kind, limits.read(value), "cli", Door.CLI)
    typer.echo("The limit is changed.")
