"""What `status` tells of the schedule, of backups, and of what waits for the object store: read in one look."""

from typing import Any

from app.local.errors import ServerDown
from app.local.postgres import connected
from app.local.settings import Settings

_SCHEDULE = """
    select name, every, case when runs > 0 then to_char(last_run_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') end,
           to_char(next_run_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    from schedule order by next_run_at
"""
_BACKUP = "select id from backups where state = 'proven' order by id desc limit 1"
_WAITING = "select count(*), max(tries) from transcripts where state = 'waiting'"


def told(known: Settings) -> dict[str, Any]:
    """The schedule's entries, the newest proven backup, and how many transcripts wait; nothing while PostgreSQL is away."""
    found: dict[str, Any] = {"schedule": [], "proven_backup": None, "transcripts_waiting": 0, "transcript_tries": 0}
    try:
        with connected(known.dsn) as connection, connection.cursor() as cursor:
            cursor.execute(_SCHEDULE)
            keys = ("name", "every", "last", "next")
            found["schedule"] = [dict(zip(keys, row, strict=True)) for row in cursor.fetchall()]
            cursor.execute(_BACKUP)
            found["proven_backup"] = (cursor.fetchone() or (None,))[0]
            cursor.execute(_WAITING)
            found["transcripts_waiting"], tries = cursor.fetchone()
            found["transcript_tries"] = tries or 0
    except ServerDown:
        pass
    return found


def table(found: dict[str, Any]) -> Any:
    """The schedule for a person, a line each."""
    from rich.table import Table

    shown = Table("schedule", "when", "last run, UTC", "next run, UTC", box=None, pad_edge=False)
    for one in found["schedule"]:
        shown.add_row(one["name"], one["every"], _short(one["last"]) if one["last"] else "not yet", _short(one["next"]))
    return shown


def _short(moment: str) -> str:
    """A moment as a terminal of 80 columns has room for it."""
    return moment.removesuffix("Z").replace("T", " ")


def lines(found: dict[str, Any]) -> list[str]:
    """What else there is to say, a line each."""
    said = [f"newest proven backup: {found['proven_backup'] or 'none yet'}"]
    if found["transcripts_waiting"]:
        said.append(f"{found['transcripts_waiting']} transcripts wait for the object store (`meatlizard transcript list`)")
    return said
