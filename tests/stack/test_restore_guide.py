"""The restore guide, word for word: a platform with people and talk is gone, and comes back in an empty home folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from app.services import backup_tables
from tests.support.stack import Stack
from tests.support.waiting import until
from tests.workers.conftest import engine, llama

__all__ = ("engine", "llama")

BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
MOVING = {"audit_log", "backups", "schedule", "nodes", "rollup_marks", "users"}
"""Tables in which a start or the restore itself writes; what was in them is looked at by itself."""


def blocks(checkout: Path) -> list[str]:
    """The commands of the guide, as a person would copy them."""
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in BLOCK.findall((checkout / "docs/restore.md").read_text())]


def kept(dsn: str) -> dict[str, Any]:
    """Count and hash of every table, and whose names are there."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        found: dict[str, Any] = dict(backup_tables.prints(connection))
        cursor.execute("select name, role from users where role <> 'guest' order by name")
        found["people"] = cursor.fetchall()
        cursor.execute("select id, encode(hash, 'hex') from audit_log order by id")
        found["trail"] = cursor.fetchall()
    return found


def ended(dsn: str) -> bool:
    """Say whether every turn has ended and has all its stamps: the web's come with the next batch of figures."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) = 0 from turns where finished_at is null or not hops ? 'told'")
        return bool(cursor.fetchone()[0])


@pytest.mark.timeout(600)
def test_the_guide_brings_everything_back(tmp_path_factory: pytest.TempPathFactory, checkout: Path, llama: str) -> None:
    place = tmp_path_factory.mktemp("g")
    old = Stack.of(place / "old", llama_url=llama, sandbox="off")
    # A machine on which there is nothing but the program: an empty home folder, and the command on the path.
    machine = place / "new"
    (machine / "kept").mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEATLIZARD_")}
    environment |= {
        "HOME": str(machine),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MEATLIZARD_LLAMA_URL": llama,
        "MEATLIZARD_SANDBOX": "off",
    }
    new = Stack(machine / ".meatlizard", environment)
    going = ThreadPoolExecutor()
    try:
        old.up()
        old.environment["MEATLIZARD_NEW_PASSWORD"] = "correct horse battery"
        old.run("user", "add", "carol")
        first = old.ask("Why is the sky blue?")
        assert first["state"] == "done", first
        dsn = old.status()["services"]["postgres"]
        until(lambda: ended(dsn))
        taken = json.loads(old.run("backup", "now", "--json").stdout)
        assert taken["proof"]["sound"], taken
        before = kept(dsn)
        shutil.copy(old.home / "meatlizard.env", machine / "kept" / "meatlizard.env")
        shutil.copytree(old.home / "data" / "s3" / "meatlizard", machine / "kept" / "s3" / "meatlizard")
        # The old one goes while the new one comes: nothing leads from one to the other.
        going.submit(old.down)

        for block in blocks(checkout):
            done = subprocess.run(
                ["sh", "-e", "-c", block], cwd=machine, env=environment, capture_output=True, text=True, timeout=200, check=False
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}\n{new.logs()}"
        assert "carol" in done.stdout

        after = kept(new.status()["services"]["postgres"])
        tables = set(before) - MOVING - {"people", "trail"}
        assert {"messages", "turns", "sessions"} <= tables
        assert {name: after[name] for name in tables if "rollup" not in name and not re.match(r"metrics|samples", name)} == {
            name: before[name] for name in tables if "rollup" not in name and not re.match(r"metrics|samples", name)
        }
        assert after["people"] == before["people"]
        # All that was in the trail at the moment of the backup is in it still, in the same order.
        common = [one for one in before["trail"] if one in after["trail"]]
        assert len(common) >= len(before["trail"]) - 1
        assert after["trail"][: len(common)] == common
        again = new.ask("And the sea?", "--session", first["session"])
        assert again["state"] == "done", again
    finally:
        for stack in (old, new):
            going.submit(stack.run, "down", check=False)
        going.shutdown()
