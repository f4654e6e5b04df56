"""What a very long conversation costs in memory: the running stack's worker keeps its transcript, a command reads it back.

Prints the megabytes of the whole worker before and at its peak, and those of the command at its own. What libraries they
share with the stack's other processes is counted in parts (PSS).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any, Final

import psutil
from sqlalchemy import insert

from app.core import keys
from app.core.db import transaction
from app.core.models import Message, Session, User, new_id
from app.services import transcripts

MESSAGES: Final = 100_000
WORDS: Final = "What was said in this one is of an ordinary length, a line or two as people write them. " * 5
AT_ONCE: Final = 2000
KEPT_SECONDS: Final = 300.0
"""A transcript is kept in some twenty; then something is wrong."""
LOOKS: Final = 20
"""At the worker's memory between two questions whether it is done."""
EVERY: Final = 500
"""Lines that are read between two looks at the command's memory."""


def fill(count: int) -> str:
    """Write a conversation of so many messages, each an answer to the one before; return its id."""
    with transaction() as tx:
        owner = User(id=new_id(), name=f"long-{new_id().hex[:12]}", password_hash=None, role="member")
        session = Session(id=new_id(), user_id=owner.id)
        tx.add(owner)
        tx.flush()
        tx.add(session)
    ring, parent = keys.rest(str(session.id)), None
    for start in range(0, count, AT_ONCE):
        rows: list[dict[str, Any]] = []
        for number in range(start, min(start + AT_ONCE, count)):
            role = "assistant" if number % 2 else "user"
            body = ring.seal(f"{number} {WORDS}".encode())
            rows.append({"id": (made := new_id()), "session_id": session.id, "parent_id": parent, "role": role, "body": body})
            parent = made
        with transaction() as tx:
            tx.execute(insert(Message), rows)
    return str(session.id)


def kept(home: str, session: str) -> dict[str, float]:
    """Have the stack's own worker bring a transcript to the object store; return its megabytes before and at the peak."""
    worker = _status(home)["processes"]["worker"]["pid"]
    before = memory(worker)
    transcripts.enqueue(session, "closed")
    peak, until = before, time.monotonic() + KEPT_SECONDS
    while (found := transcripts.about(session)) is None or found.state != "stored":
        if time.monotonic() > until:
            raise SystemExit(f"The transcript was not kept in {KEPT_SECONDS} s: {found}")
        peak = max(peak, *(memory(worker) for _ in range(LOOKS)))
    return {"worker_before_mb": before, "worker_mb": max(peak, memory(worker)), "messages": found.messages or 0}


def exported(home: str, session: str) -> dict[str, float]:
    """Read it back with `meatlizard transcript export`; return that command's megabytes at the peak, and its lines."""
    command = [sys.executable, "-m", "app.cli", "transcript", "export", session, "--home", home]
    peak = lines = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        for _ in running.stdout:
            lines += 1
            if lines % EVERY == 0:
                peak = max(peak, memory(running.pid))
    if running.returncode:
        raise SystemExit("The transcript could not be read back.")
    return {"export_mb": peak, "lines": lines}


def memory(pid: int) -> float:
    """Return a process's memory in megabytes, what it shares with others counted in parts (PSS)."""
    found = psutil.Process(pid).memory_full_info()
    return float(getattr(found, "pss", 0) or found.uss) / 1e6


def _status(home: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "app.cli", "status", "--json", "--home", home]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", required=True)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    given = parser.parse_args()
    os.environ["MEATLIZARD_HOME"] = given.home
    session = fill(given.messages)
    print(json.dumps(kept(given.home, session) | exported(given.home, session)))


if __name__ == "__main__":
    main()
