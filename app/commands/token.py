"""`meatlizard token`: what programs sign in with."""

from typing import Annotated

import typer

from app.commands.home import Home

app = typer.Typer(help="Tokens for programs.", no_args_is_help=True)


@app.command("new")
def token_new(
    unlimited: Annotated[bool, typer.Option("--unlimited", help="Free of rate limits.")] = False,
    user: Annotated[str, typer.Option(help="Whom it acts for.")] = "admin",
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    home: Home = None,
) -> None:
    """Make a token; it is shown this once."""
    import json

    from app.services import accounts
    from app.wire.states import Door

    token = accounts.new_token(user, label, unlimited, "cli", Door.CLI)
    typer.echo(json.dumps({"token": token}) if as_json else token)
