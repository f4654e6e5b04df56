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
    from app import soundness

    soundness.say(as_json)


@app.command("list")
def audit_list(
    actor: Annotated[str, typer.Option(help="Only what this one did.")] = "",
    action: Annotated[str, typer.Option(help="Only this action, or those that begin with it, such as user.")] = "",
    most: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50,
    home: Home = None,
) -> None:
    """Show the newest records."""
    from datetime import UTC

    from rich.console import Console
    from rich.table import Table

    from app.services import trail

    table = Table("number", "when, UTC", "who", "door")
    for name in ("what", "of whom", "details"):
        table.add_column(name, overflow="fold")  # An id that is cut short finds nothing.
    for row in trail.listed(trail.Filter(actor=actor, action=action), most=most):
        details = " ".join(f"{key}={value}" for key, value in row.details.items())
        printed.row(table, str(row.id), f"{row.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}", row.actor, row.door, row.action, row.subject, details)
    Console().print(table)


@app.command("export")
def audit_export(home: Home = None) -> None:
    """Print the whole trail as JSON lines, the oldest first."""
    import sys

    from app.services import trail
    from app.wire.states import Door

    for line in trail.exported(trail.Filter(), "cli", Door.CLI):
        sys.stdout.buffer.write(line)
