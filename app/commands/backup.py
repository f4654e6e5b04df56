"""`meatlizard backup`: backups taken, listed, proven and brought back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from app.commands.home import Home

app = typer.Typer(help="Backups: take, list, prove, bring back.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one object.")]


@app.command("now")
def backup_now(
    prove: Annotated[bool, typer.Option("--prove/--no-prove", help="Restore it aside and compare.")] = True,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Take a backup now, and prove it by restoring it aside."""
    from app.services import backups
    from app.wire.states import Door

    with _bars(as_json) as progress:
        backup = backups.ask("cli", Door.CLI)
        manifest = backups.take(backup, progress)
        assert manifest is not None
        found = _proven(backup, progress) if prove else None
    _say(as_json, {"id": backup, "size": manifest.size, "rows": _rows(manifest.tables), "proof": found})
    if not as_json:
        typer.echo(f"{backup}: {manifest.size:,} bytes, {_rows(manifest.tables):,} rows.")
    _judge(found, as_json)


@app.command("list")
def backup_list(as_json: Json = False, home: Home = None) -> None:
    """Show the backups that lie in the object store."""
    from rich.console import Console
    from rich.table import Table

    from app.services import backup_store
    from app.wire.errors import BadInput

    rows: list[dict[str, Any]] = []
    for backup in backup_store.whole():
        try:
            manifest, proof = backup_store.manifest(backup), backup_store.proof(backup)
        except BadInput as error:
            rows.append({"id": backup, "error": str(error)})
            continue
        rows.append(
            {
                "id": backup, "taken_at": manifest.taken_at, "size": manifest.size, "rows": _rows(manifest.tables),
                "revision": manifest.revision, "app": manifest.app,
                "proven_at": proof["at"] if proof and proof["sound"] else None,
                "problems": proof["problems"] if proof else None,
            }
        )
    if as_json:
        _say(True, {"backups": rows})
        return
    if not rows:
        typer.echo("There is no backup yet: `meatlizard backup now` takes one.")
        return
    table = Table("backup", "bytes", "rows", "schema", "proven, UTC")
    for row in rows:
        if "error" in row:
            table.add_row(row["id"], "", "", "", "[red]sealed with other keys[/]")
            continue
        proven = "not yet" if row["problems"] is None else "[red]NOT SOUND[/]" if row["problems"] else row["proven_at"][:16].replace("T", " ")
        table.add_row(row["id"], f"{row['size']:,}", f"{row['rows']:,}", row["revision"], proven)
    Console().print(table)


@app.command("verify")
def backup_verify(
    backup: Annotated[str, typer.Argument(help="Its id, the beginning of it, or latest.")] = "latest",
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Prove a backup: restore it aside, compare every table, migrate it, walk its audit trail."""
    from app.services import backup_store

    chosen = backup_store.chosen(backup)
    with _bars(as_json) as progress:
        found = _proven(chosen, progress)
    _say(as_json, {"id": chosen, "proof": found})
    _judge(found, as_json)


@app.command("restore")
def backup_restore(
    backup: Annotated[str, typer.Argument(help="Its id, the beginning of it, or latest.")] = "latest",
    to: Annotated[str | None, typer.Option("--to", help="The URL of another, empty database; else the platform's own.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Bring a backup back in place of what the platform holds, or into another database."""
    from app.services import backup_store, backups, restore
    from app.wire.states import Door

    chosen = backup_store.chosen(backup)
    if to is not None:
        with _bars(as_json) as progress:
            manifest = restore.into(_address(to), chosen, progress)
        _say(as_json, {"id": chosen, "rows": _rows(manifest.tables), "before": None})
        if not as_json:
            typer.echo(f"{chosen} is restored there: {_rows(manifest.tables):,} rows, compared and migrated.")
        return
    if not yes:
        typer.confirm(f"Put {chosen} in place of all that this platform holds now? A backup of that is taken before", abort=True)
    restore.reopen(restore.live_url())
    with _bars(as_json) as progress:
        before = backups.ask("cli", Door.CLI)
        backups.take(before, progress)
        manifest = restore.live(chosen, "cli", Door.CLI, progress)
    _say(as_json, {"id": chosen, "rows": _rows(manifest.tables), "before": before})
    if not as_json:
        typer.echo(f"{chosen} is restored: {_rows(manifest.tables):,} rows. Everybody signs in anew.")
        typer.echo(f"What was there before is the backup {before}.")


def _address(given: str) -> str:
    """Return a database's URL as SQLAlchemy takes it; people write it as libpq does."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from app.wire.errors import BadInput

    try:
        url = make_url(given)
    except ArgumentError as error:
        raise BadInput("--to wants an address such as postgresql://user:password@host:5432/database.") from error
    if url.get_backend_name() not in ("postgresql", "postgres") or not url.database:
        raise BadInput("--to wants an address such as postgresql://user:password@host:5432/database.")
    return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def _proven(backup: str, progress: Callable[[str, float], None]) -> dict[str, Any]:
    from app.local import scratch
    from app.services import proof

    return proof.prove(backup, scratch.cluster, progress)


def _judge(found: dict[str, Any] | None, as_json: bool) -> None:
    if found is None:
        return
    if not found["sound"]:
        if not as_json:
            for line in found["problems"]:
                typer.echo(f"meatlizard: {line}", err=True)
        raise typer.Exit(1)
    if not as_json:
        tables, records = found["tables"], found["audit_records"]
        typer.echo(f"Proven: restored aside, {tables} tables the same, {records:,} audit records sound.")


def _rows(tables: dict[str, list[Any]]) -> int:
    return sum(rows for rows, _ in tables.values())


def _say(as_json: bool, answer: dict[str, Any]) -> None:
    import json

    if as_json:
        typer.echo(json.dumps(answer))


@contextmanager
def _bars(quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """Give a progress that draws a bar for each phase on standard error; the last state stays there."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from app import logs
    from app.core.config import settings
    from app.services.backups import PHASES

    logs.configure("backup", "WARNING" if settings().log_level == "INFO" else settings().log_level)
    columns = (TextColumn("{task.description:<36}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as shown:
        known: dict[str, TaskID] = {}

        def progress(phase: str, share: float) -> None:
            if phase not in known:
                for task in known.values():
                    shown.update(task, completed=1.0)
                known[phase] = shown.add_task(PHASES.get(phase, phase), total=1.0)
            shown.update(known[phase], completed=share)

        yield progress
        for task in known.values():
            shown.update(task, completed=1.0)
