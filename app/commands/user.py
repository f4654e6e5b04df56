"""`meatlizard user`: the accounts."""

from pathlib import Path
from typing import Annotated

import typer

from app import printed
from app.commands.home import Home

app = typer.Typer(help="The people who have an account.", no_args_is_help=True)


@app.command("add")
def user_add(
    name: str,
    role: Annotated[str, typer.Option(help="owner, admin or member")] = "member",
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, envvar="MEATLIZARD_NEW_PASSWORD")
    ] = "",
    home: Home = None,
) -> None:
    """Make an account."""
    from app.services import accounts
    from app.wire.states import Door

    accounts.add(name, password, role, "cli", Door.CLI)
    typer.echo(f"{name} can sign in now, as {role}.")


@app.command("list")
def user_list(home: Home = None) -> None:
    """Show the accounts."""
    from rich.console import Console
    from rich.table import Table

    from app.services import accounts

    table = Table("name", "role", "since", "state")
    for one in accounts.users():
        state = "disabled" if one.disabled_at else ""
        printed.row(table, one.name, one.role, f"{one.created_at:%Y-%m-%d}", state)
    Console().print(table)


@app.command("role")
def user_role(name: str, role: str, home: Home = None) -> None:
    """Give an account another role."""
    from app.services import accounts
    from app.wire.states import Door

    accounts.set_role(name, role, "cli", Door.CLI)
    typer.echo(f"{name} is {role} now.")


@app.command("disable")
def user_disable(name: str, home: Home = None) -> None:
    """Shut an account; its logins and tokens end."""
    from app.services import accounts
    from app.wire.states import Door

    accounts.disable(name, "cli", Door.CLI)
    typer.echo(f"{name} is shut out.")


@app.command("enable")
def user_enable(name: str, home: Home = None) -> None:
    """Open a shut account again."""
    from app.services import accounts
    from app.wire.states import Door

    accounts.enable(name, "cli", Door.CLI)
    typer.echo(f"{name} can sign in again.")


@app.command("password")
def user_password(
    name: str,
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, envvar="MEATLIZARD_NEW_PASSWORD")
    ] = "",
    home: Home = None,
) -> None:
    """Give an account another password; its logins end everywhere."""
    from app.services import accounts
    from app.wire.states import Door

    accounts.set_password(name, password, "cli", Door.CLI)
    typer.echo(f"{name} has another password now.")


@app.command("invite")
def user_invite(
    role: Annotated[str, typer.Option(help="owner, admin or member")] = "member",
    days: Annotated[int, typer.Option(help="How long it can be used.")] = 7,
    note: Annotated[str, typer.Option(help="Whom it is for.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    home: Home = None,
) -> None:
    """Make a link that lets one person make an account; it is shown this once."""
    import json

    from app.core.config import settings
    from app.services import invitations
    from app.wire.states import Door

    base = settings().public_url.rstrip("/") or f"http://{settings().host}:{settings().port}"
    link = invitations.link(invitations.invite(role, days, note, "cli", Door.CLI), base)
    typer.echo(json.dumps({"link": link}) if as_json else link)


@app.command("logins")
def user_logins(
    name: str,
    end: Annotated[bool, typer.Option("--end", help="Sign them out everywhere.")] = False,
    home: Home = None,
) -> None:
    """Show where somebody is signed in, or sign them out everywhere."""
    from rich.console import Console
    from rich.table import Table

    from app.services import accounts
    from app.wire.states import Door

    if end:
        count = accounts.sign_out_everywhere(name, "cli", Door.CLI)
        typer.echo(f"{name} is signed out everywhere: {count} logins ended.")
        return
    table = Table("browser", "address", "by", "since", "last seen")
    for one in accounts.logins_of(name):
        printed.row(table, one.device, one.address, one.how, f"{one.since:%Y-%m-%d %H:%M}", f"{one.seen:%Y-%m-%d %H:%M}")
    Console().print(table)


@app.command("export")
def user_export(
    name: str,
    to: Annotated[Path, typer.Option(dir_okay=False, help="Where to write the ZIP file.")] = Path("meatlizard-export.zip"),
    home: Home = None,
) -> None:
    """Write all that is kept of somebody into a file; the audit trail shows it."""
    import os
    import shutil

    from app.services import accounts, takeout
    from app.wire.states import Door

    file = takeout.packed(accounts.identity(name), "cli", Door.CLI)
    # Nobody else may read it.
    with file, os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        shutil.copyfileobj(file, out)
    typer.echo(f"All of {name} is in {to}.")


@app.command("delete")
def user_delete(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
) -> None:
    """Delete somebody with everything of theirs; it is gone within a minute."""
    from app.services import accounts, erasure
    from app.wire.states import Door

    identity = accounts.identity(name)
    if not yes:
        typer.confirm(f"Delete {name} with all conversations, for good?", abort=True)
    erasure.begin(identity, "cli", Door.CLI)
    typer.echo(f"{name} is being deleted.")
