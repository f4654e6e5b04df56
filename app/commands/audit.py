"""`meatlizard audit`: the trail of who did what."""

from typing import Annotated

import typer

from app import printed
from app.commands.home import Home

app = typer.Typer(help="The trail of who did what.", no_args_is_help=True)


@app.command("verify")
def audit_verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False, home: Home = None
) -> None:
    """Check that no record was changed, removed or put elsewhere."""
    import json

    from app import lasting

    # Somebody waits: half of it is loading.
    lasting.spare("rich")
    from app.core import objects
    from app.services import backup_store, restore_notes, trail
    from app.wire.errors import MeatLizardError

    heads: dict[int, str] = {}
    unread: list[str] = []
    unnoted: list[int] = []
    try:
        if objects.configured():
            notes, unnoted = restore_notes.of_the_trail()
            heads, unread = backup_store.audit_heads(notes)
    except MeatLizardError as error:
        typer.echo(f"The backups' word of the trail could not be read: {error}", err=True)
    if unnoted:
        numbers = ", ".join(map(str, unnoted[-5:]))
        typer.echo(
            f"The trail tells of restores that no note sealed by this platform bears out: record {numbers}. "
            "What was backed up before them must be in the trail all the same.", err=True,
        )  # fmt: skip
    if unread:
        typer.echo(f"These backups do not open, and say nothing of the trail: {', '.join(unread[:5])}.", err=True)
    found = trail.verified(heads)
    if as_json:
        typer.echo(json.dumps({"sound": found.sound, "records": found.records, "broken": found.broken, "head": found.head, "backups": len(heads), "unnoted": unnoted}))
    elif found.sound:
        typer.echo(f"All {found.records} records are sound. The last one's hash is {found.head}.")
        typer.echo(f"Of the heads that backups noted, all {len(heads)} are in it." if heads else "No backup has noted a head of it yet.")
    if not found.sound:
        raise MeatLizardError(
            f"Record {found.broken} of the trail was changed, removed or put elsewhere. The {found.records} before it are "
            "sound; compare with a backup (`meatlizard backup list`)."
        )


@app.command("list")
def audit_list(
    actor: Annotated[str, typer.Option(help="Only what this one did.")] = "",
    action: Annotated[str, typer.Option(help="Only this action, or those that begin with it, such as user.")] = "",
    most: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50,
    home: Home = None,
) -> None:
    """Show the newest records."""
    from rich.console import Console
    from rich.table import Table

    from app.services import trail

    table = Table("number", "when", "who", "door", "what", "of whom", "details")
    for row in trail.listed(trail.Filter(actor=actor, action=action), most=most):
        details = " ".join(f"{key}={value}" for key, value in row.details.items())
        printed.row(table, str(row.id), f"{row.at:%Y-%m-%d %H:%M:%S}", row.actor, row.door, row.action, row.subject, details)
    Console().print(table)


@app.command("export")
def audit_export(home: Home = None) -> None:
    """Print the whole trail as JSON lines, the oldest first."""
    import sys

    from app.services import trail
    from app.wire.states import Door

    for line in trail.exported(trail.Filter(), "cli", Door.CLI):
        sys.stdout.buffer.write(line)
