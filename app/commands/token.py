"""`meatlizard token`: what programs sign in with."""

from typing import Annotated

import typer

from app import printed
from app.commands.home import Home

app = typer.Typer(help="Tokens for programs.", no_args_is_help=True)


@app.command("new")
def token_new(
    unlimited: Annotated[bool, typer.Option("--unlimited", help="Free of rate limits.")] = False,
    user: Annotated[str, typer.Option(help="Whom it acts for.")] = "admin",
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="What it opens: chat, read or admin; may be given again. [chat read]")
    ] = None,
    expires: Annotated[int | None, typer.Option(help="Days until it ends; never unless said.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    home: Home = None,
) -> None:
    """Make a token; it is shown this once."""
    import json

    from app.services import tokens
    from app.wire.states import Door

    token = tokens.new(user, label, scope or tokens.DEFAULT, expires, "cli", Door.CLI, unlimited=unlimited)
    typer.echo(json.dumps({"token": token}) if as_json else token)


@app.command("list")
def token_list(
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    home: Home = None,
) -> None:
    """Show the tokens, without what they are themselves."""
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from app.services import tokens

    rows = [one for one in tokens.listed() if everything or one.stands]
    if as_json:
        typer.echo(json.dumps({"tokens": [asdict(one) for one in rows]}, default=str))
        return
    table = Table("id", "user", "for", "opens", "made", "last used", "ends")
    for one in rows:
        ends = "revoked" if one.revoked_at else f"{one.expires_at:%Y-%m-%d}" if one.expires_at else ""
        used = f"{one.used_at:%Y-%m-%d %H:%M}" if one.used_at else "never"
        scopes = " ".join((*one.scopes, *(["unlimited"] if one.unlimited else [])))
        printed.row(table, one.id, one.user, one.name, scopes, f"{one.created_at:%Y-%m-%d}", used, ends)
    Console().print(table)


@app.command("revoke")
def token_revoke(token: Annotated[str, typer.Argument(help="Its id, as `token list` shows it.")], home: Home = None) -> None:
    """End a token: whoever holds it is refused from now on."""
    from app.services import tokens
    from app.wire.states import Door

    tokens.revoke(token, "cli", Door.CLI)
    typer.echo("It opens nothing any more.")
