"""The last thing a process said, short enough to stand in an error."""

import json

from app.local.home import Home

#: Bytes from a log's end that are looked at: a traceback in one JSON line may be long.
TAIL_BYTES = 64 * 1024
#: Characters that are shown.
SHOWN = 200


def last_line(home: Home, name: str) -> str:
    """The last line of the process's log; of a structured one what it reports, without the traceback."""
    try:
        with home.log(name).open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return _reported(last)[:SHOWN]


def _reported(line: str) -> str:
    try:
        entry = json.loads(line)
        said = str(entry["event"])
    except (ValueError, KeyError, TypeError):
        return line
    if why := str(entry.get("exception") or entry.get("error") or "").strip():
        said += f": {why.splitlines()[-1]}"
    return said
