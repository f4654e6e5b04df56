"""`meatlizard transcript`: conversations as files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app import printed
from app.commands.home import Home

app = typer.Typer(help="Conversations as files.", no_args_is_help=True)


class Format(StrEnum):
    """How a transcript is written."""

    JSONL = "jsonl"
    MARKDOWN = "markdown"


@app.command("export")
def transcript_export(
    session: str,
    form: Annotated[Format, typer.Option("--format", help="jsonl: everything; markdown: to be read.")] = Format.JSONL,
    to: Annotated[Path | None, typer.Option("--to", help="A file; else it is printed.")] = None,
    home: Home = None,
) -> None:
    """Write a session's transcript, all its branches in it; the audit trail tells that it was read."""
    import sys

    import orjson

    from app.core.db import transaction
    from app.services import audit, transcript_markdown, transcripts
    from app.wire.states import Door

    with transaction() as tx:
        audit.record(tx, "cli", Door.CLI, "transcript.export", session[:128])
    lines = transcripts.read(session)
    if form is Format.MARKDOWN:
        pieces = (piece.encode() for piece in transcript_markdown.written(lines))
    else:
        pieces = (orjson.dumps(line) + b"\n" for line in lines)
    first = next(pieces)  # What is wrong shows before a file is made.
    with to.open("wb") if to else sys.stdout.buffer as file:
        file.write(first)
        file.writelines(pieces)
    if to:
        to.chmod(0o600)


@app.command("list")
def transcript_list(
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False, home: Home = None
) -> None:
    """Show the transcripts that wait for the object store, and why."""
    import json

    from rich.console import Console
    from rich.table import Table

    from app.services import transcripts

    found = transcripts.waiting()
    if as_json:
        rows = [{"session": one.session, "why": one.why, "tries": one.tries, "error": one.error} for one in found]
        typer.echo(json.dumps({"waiting": rows}))
        return
    if not found:
        typer.echo("No transcript waits.")
        return
    table = Table("session", "why", "tries", "last error")
    for one in found:
        printed.row(table, one.session, one.why, str(one.tries), one.error or "")
    Console().print(table)
