"""The restore drill: backups are taken while everything breaks, some of them killed; then each is proven, and one brought back."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg2

from tests.faults.stage import Stage

KILLED: Final = 0.4
"""Share of the backups that are killed on their way."""
KILL_SECONDS: Final = (0.2, 5.0)
LONGEST_SECONDS: Final = 120
"""After which one that waits for a server is ended: people would do so too."""
UNDER_WAY: Final = timedelta(seconds=30)
"""A row is stamped before its transaction ends, and no statement lasts longer: what is older is in the backup's state."""
THEN: Final = {
    "messages": "select id::text, md5(body) from messages where created_at < %(at)s",
    "turns": "select id::text, state from turns where finished_at < %(at)s",
    "sessions": "select id::text, user_id::text from sessions where created_at < %(at)s",
    "users": "select id::text, role from users where created_at < %(at)s",
    "audit records": "select id::text, encode(hash, 'hex') from audit_log where at < %(at)s",
}
"""What was there at the moment of a backup, read by itself: by table, id and what must be as it was."""


@dataclass
class Drill:
    """Backups under fire; `count` tells what became of them."""

    stage: Stage
    dice: random.Random
    count: Counter[str] = field(default_factory=Counter)

    async def run(self, over: asyncio.Event) -> None:
        """Take one after the other until it is over."""
        while not over.is_set():
            await self._one()

    async def _one(self) -> None:
        stack = self.stage.stack
        words = [*stack.command, "backup", "now", "--no-prove", "--json", "--home", str(stack.home)]
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*words, env=stack.environment, stdout=quiet, stderr=quiet)
        kills = self.dice.random() < KILLED
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), self.dice.uniform(*KILL_SECONDS) if kills else LONGEST_SECONDS)
        if process.returncode is None:
            process.kill()
            await process.wait()
            self.count["killed"] += 1
        else:
            # Refused is right where a server is away, or where the worker takes up what another one left.
            self.count["taken" if process.returncode == 0 else "refused"] += 1

    def look(self) -> Iterator[str]:
        """Prove every backup there is, bring the newest back, and look for what was there at its moment."""
        listed = self._said("backup", "list")["backups"]
        self.count["whole"] = len(listed)
        if not listed:
            yield "no backup came through"
            return
        for one in listed:
            proof = self._said("backup", "verify", one["id"]).get("proof", {})
            if not proof.get("sound"):
                yield f"backup {one['id']} looks whole and is not: {proof}"
        chosen = max(listed, key=lambda one: one["id"])
        moment = datetime.strptime(chosen["id"][:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - UNDER_WAY
        before = self._rows(moment)
        self._said("backup", "restore", chosen["id"], "--yes")
        after = self._rows(moment)
        for table, rows in before.items():
            self.count[f"{table} compared"] = len(rows)
            if lost := {one: what for one, what in rows.items() if after[table].get(one) != what}:
                yield f"{len(lost)} of {len(rows)} {table} are not as they were: {dict(list(lost.items())[:3])}"
        if self.stage.stack.run("audit", "verify", check=False).returncode:
            yield "the audit trail is not sound after the restore"
        if (answer := self.stage.stack.ask("Is anybody there?")).get("state") != "done":
            yield f"after the restore a prompt was not answered: {answer}"

    def _said(self, *words: str) -> dict[str, Any]:
        done = self.stage.stack.run(*words, "--json", check=False, timeout=400)
        if done.returncode and not done.stdout.strip():
            raise AssertionError(f"{words}: {done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def _rows(self, at: datetime) -> dict[str, dict[str, str]]:
        with closing(psycopg2.connect(self.stage.direct.dsn)) as connection, connection.cursor() as cursor:
            found = {}
            for table, query in THEN.items():
                cursor.execute(query, {"at": at})
                found[table] = dict(cursor.fetchall())
            return found
