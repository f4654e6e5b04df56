"""Holds what people saw against what the engines made and what PostgreSQL keeps; shares no code with the platform.

It reads rows, opens bodies with the master key by itself, and reads the engines' own journal. What it says in words
is a finding; an empty list means that every accepted prompt had exactly one outcome and nothing was left behind.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import psycopg2
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.faults import engines
from tests.faults.engines import Call
from tests.faults.load import Asked
from tests.faults.stage import Stage

ROWS: Final = """
select t.id, t.session_id, t.client_id, t.state, t.attempt, p.body, r.body, t.reason,
  (select count(*) from messages m where m.parent_id = t.prompt_id and m.role = 'assistant'),
  (select count(*) from turns o where o.prompt_id = t.prompt_id), t.finish_reason
from turns t join messages p on p.id = t.prompt_id left join messages r on r.id = t.reply_id
"""
FINAL: Final = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Kept:
    """One turn as PostgreSQL has it, opened."""

    turn: str
    session: str
    client_id: str
    state: str
    attempt: int
    prompt: str
    reply: str
    reason: str
    replies: int
    turns: int
    finish: str = "stop"


def check(stage: Stage, asked: list[Asked]) -> list[str]:
    """Return everything that is not as it must be, in words."""
    rows = {row.turn: row for row in kept(stage)}
    calls = engines.read(stage.journals)
    return [
        *_outcomes(rows, asked),
        *_texts(rows, asked, calls),
        *_left_in_redis(stage, rows),
        *_left_running(stage),
    ]


def kept(stage: Stage) -> Iterator[Kept]:
    """Read and open every turn."""
    keys = [part.strip() for part in stage.direct.values["KEYS"].split(",")]
    with closing(psycopg2.connect(stage.direct.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(ROWS)
        for turn, session, client, state, attempt, prompt, reply, reason, *counts in cursor.fetchall():
            opener = _Opener(keys, str(session))
            words = [opener.open(bytes(body)) if body is not None else "" for body in (prompt, reply, reason)]
            yield Kept(str(turn), str(session), str(client), state, attempt, *words, *counts)


class _Opener:
    """The seal of what PostgreSQL keeps, read after the description of the format and not with the platform's code."""

    def __init__(self, keys: list[str], session: str) -> None:
        info = b"meatlizard/1" + b"".join(len(part).to_bytes(2, "big") + part for part in (b"rest", session.encode()))
        derived = [HKDF(SHA256(), 32, None, info).derive(base64.urlsafe_b64decode(key)) for key in keys]
        self._fernets = [Fernet(base64.urlsafe_b64encode(key)) for key in derived]

    def open(self, body: bytes) -> str:
        assert body[:1] == b"1", "an envelope of another version"
        for fernet in self._fernets:
            try:
                plain = fernet.decrypt(body[1:])
            except InvalidToken:
                continue
            return plain.rstrip(b"\0")[:-1].decode()
        raise AssertionError("a body that no key opens")


def _outcomes(rows: dict[str, Kept], asked: list[Asked]) -> Iterator[str]:
    """Every accepted prompt has exactly one outcome, and its page saw it."""
    for row in rows.values():
        if row.state not in FINAL:
            yield f"turn {row.turn} never ended: {row.state}, attempt {row.attempt}"
        if row.replies > row.turns:
            yield f"turn {row.turn} has {row.replies} replies for {row.turns} turns"
        if row.state == "failed" and not row.reason:
            yield f"turn {row.turn} failed without a reason"
        if row.state == "done" and not row.reply:
            yield f"turn {row.turn} is done without a reply"
    by_client = Counter((row.session, row.client_id) for row in rows.values())
    for one in asked:
        if one.trouble:
            yield f"turn {one.turn}: a page saw {one.trouble}"
            continue
        if not one.second_page and by_client[one.session, one.identity] > 1:
            yield f"prompt {one.identity} became {by_client[one.session, one.identity]} turns"
        if not one.turn:
            if by_client[one.session, one.identity]:
                yield f"prompt {one.identity} was kept, and its page was never told"
        elif one.turn not in rows:
            yield f"turn {one.turn} was accepted and is not in PostgreSQL"
        elif not one.ending:
            yield f"turn {one.turn}: a page waited {one.seconds:.0f} s for ever; PostgreSQL says {rows[one.turn].state}"
        elif one.ending["event"] != rows[one.turn].state:
            yield f"turn {one.turn}: a page saw {one.ending['event']}, PostgreSQL says {rows[one.turn].state}"
        elif one.endings != 1:
            yield f"turn {one.turn}: a page saw {one.endings} endings"


def _texts(rows: dict[str, Kept], asked: list[Asked], calls: dict[str, list[Call]]) -> Iterator[str]:
    """The text is the same in all three places."""
    for row in rows.values():
        made = calls.get(row.prompt, [])
        if row.state == "done" and not _whole(row, made):
            yield f"turn {row.turn}: the kept reply is not what the engines made: {_difference(row.reply, made)}"
        elif row.state in ("failed", "cancelled") and not _grounded(row.reply, made):
            yield f"turn {row.turn} ({row.state}): the kept text is not what the engines made: {_difference(row.reply, made)}"
    for one in asked:
        row = rows.get(one.turn)
        if row is None or not one.ending:
            continue
        if (one.ending.get("text") or "") != row.reply:
            yield f"turn {one.turn}: the page was told another text than is kept"
        if row.state == "done" and one.shown != row.reply:
            yield f"turn {one.turn}: the page showed {len(one.shown)} characters, kept are {len(row.reply)}"


def _whole(row: Kept, made: list[Call]) -> bool:
    """Whether the last engine ended this text; or whether it had all its tokens when it came to the node that was to carry on."""
    if row.attempt > 1 and row.finish == "length" and _grounded(row.reply, made):
        return True
    return any(call.finish and call.whole == row.reply and _grounded(call.prefix, made) for call in made)


def _grounded(text: str, made: list[Call]) -> bool:
    """Whether engines made this text, each carrying on from what the one before had made."""
    if not text:
        return True
    return any(
        len(call.prefix) < len(text) and call.whole.startswith(text) and _grounded(call.prefix, made) for call in made
    )


def _difference(text: str, made: list[Call]) -> str:
    calls = "; ".join(f"{c.node} from {len(c.prefix)} to {len(c.whole)} {c.finish or 'cut'}" for c in made)
    return f"{len(text)} characters, engines: {calls or 'nothing'}"


def _left_in_redis(stage: Stage, rows: dict[str, Kept]) -> Iterator[str]:
    """No slot, lease, channel or task is left behind."""
    with stage.redis as client:
        if left := client.zcard("ml:leases"):
            yield f"{left} leases are left"
        # The ring, the set of those who wait, and each user's list; empty ones are no keys.
        for kind, pattern in (("slots are taken", "ml:leased:*"), ("users wait", "ml:queue:[uwr]*")):
            if left := [key.decode() for key in client.scan_iter(pattern)]:
                yield f"{kind}: {', '.join(left)}"
        if channels := [name.decode() for name in client.pubsub_channels("ml:events:*")]:
            who = [one["name"] + " " + one["lib-name"] + " " + one["addr"] for one in client.client_list() if int(one["sub"])]
            yield f"{len(channels)} channels are still listened to: {sorted(channels)[:3]} by {who}"
        for queue in ("turns", "metrics", "relay", *(f"inference.{name}" for name in stage.nodes)):
            if left := client.llen(queue):
                yield f"{left} tasks lie in {queue}"
        for turn in _unacknowledged(client):
            # A ghost of a killed consumer: the broker gives it out once more in time, and it is refused.
            if turn in rows and rows[turn].state not in FINAL:
                yield f"turn {turn} is in nobody's hands"


def _unacknowledged(client: Any) -> Iterator[str]:
    for key in client.scan_iter("*unacked*"):
        if client.type(key) == b"hash":
            for raw in client.hvals(key):
                arguments, *_ = json.loads(base64.b64decode(json.loads(raw)[0]["body"]))
                if arguments:
                    yield str(arguments[0])


def _left_running(stage: Stage) -> Iterator[str]:
    """No process is there twice."""
    for name, count in stage.counted().items():
        if count > 1:
            yield f"{count} processes of {name} run at once"
