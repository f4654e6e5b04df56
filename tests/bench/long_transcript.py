"""What a very long conversation costs in memory when its transcript is kept and read: a process of its own, and its peak.

Prints the resident megabytes before and the most there were, of a process that has loaded all that a worker has for it.
"""

import argparse
import json
import os
import resource
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert, text

from app.core import keys, objects
from app.core.db import transaction
from app.core.models import Message, Session, User, new_id
from app.services import transcripts

MESSAGES: Final = 100_000
WORDS: Final = "What was said in this one is of an ordinary length, a line or two as people write them. " * 5
AT_ONCE: Final = 2000


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


def kept_and_read(session: str) -> dict[str, float]:
    """Bring a transcript to the object store and read it back; return megabytes before and at the peak, and the messages."""
    with transaction() as tx:
        tx.execute(text("select 1"))
        transcripts.ask(tx, UUID(session), "closed")
    objects.size("warm")
    before = _resident()
    transcripts.upload(session)
    read = sum(line["kind"] == "message" for line in transcripts.read(session))
    return {"before_mb": before, "peak_mb": _most(), "messages": read}


def _resident() -> float:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - a file of the kernel's
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def _most() -> float:
    # Of this process alone: getrusage's figure begins with that of whoever started it.
    with open("/proc/self/status") as file:  # noqa: PTH123 - a file of the kernel's
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", required=True)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--session", help="one that is there already")
    given = parser.parse_args()
    os.environ["MEATLIZARD_HOME"] = given.home
    if given.session:
        print(json.dumps(kept_and_read(given.session)))
    else:
        print(fill(given.messages))


if __name__ == "__main__":
    main()
