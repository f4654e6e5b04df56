"""Loads a month of made-up traffic into a running stack, then holds every page, command and job of beat against its goal.

`make load-month ARGS="--home DIR"`; the stack keeps the made-up rows, so use a home of its own. `--measure-only` for one
that is loaded already. Exit status 1 where anything is over its goal.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import psutil
from sqlalchemy import text

from tests.bench.month import load as write
from tests.bench.month import timed

TRIES: Final = 3
"""Of each page; the slowest counts, the first one, which finds nothing in memory, among them."""
GOAL_SECONDS: Final = 1.0
GOAL_ROLL_UP_SECONDS: Final = 60.0
GOAL_TRANSCRIPT_MB: Final = 100.0
GOAL_GROWTH_MB: Final = 60.0
"""By which a process may have grown after all of it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was measured."""

    what: str
    figure: float
    goal: float
    unit: str = "ms"

    @property
    def ok(self) -> bool:
        """Whether it is within its goal."""
        return self.figure <= self.goal

    def told(self) -> str:
        """Return it as a line of the table."""
        return f"{self.figure:9.0f} {self.unit}  of {self.goal:6.0f}  {'ok  ' if self.ok else 'OVER'}  {self.what}"


def seconds(what: str, took: float, goal: float = GOAL_SECONDS) -> Line:
    """Return a line of a time."""
    return Line(what, took * 1000, goal * 1000)


def summed() -> Iterator[Line]:
    """Sum the whole month up, run after run, as beat would after a long pause."""
    from app.core.db import transaction
    from app.services import rollup
    def left() -> bool:
        with transaction() as tx:
            return bool(tx.scalar(text("select min(upto) < now() - interval '20 minutes' from rollup_marks")))

    steps: list[float] = []
    while left():
        # Beat has it done as well; who comes second to a step leaves it to the other.
        took, done = timed(rollup.roll_up)
        steps.append(took)
        if not done:
            time.sleep(0.5)  # Its step takes seconds; asking again at once would slow it.
    print(f"the whole month summed in {sum(steps):.0f} s, {len(steps)} runs", flush=True)
    yield seconds("longest of the roll-ups that sum the month", max(steps, default=0.0), GOAL_ROLL_UP_SECONDS)


def jobs() -> Iterator[Line]:
    """Run every job of beat twice: the second time there is as much to do as at any other time."""
    from app.core import objects
    from workers.app import TASKS, app

    for name in TASKS:
        importlib.import_module(name)
    objects.client()  # What a worker loads once is no job's.
    own = psutil.Process().memory_info()
    for entry, options in sorted(app.conf.beat_schedule.items(), key=lambda one: one[0] == "backup"):
        task = app.tasks[options["task"]]
        goal = GOAL_ROLL_UP_SECONDS if "roll-up" in entry else GOAL_SECONDS
        for run in ("", ", again"):
            took, _ = timed(task.run, *options.get("args", ()))
            yield seconds(f"job {entry}{run}", took, goal)
    yield Line("growth of a process by all of them", (psutil.Process().memory_info().rss - own.rss) / 1e6, GOAL_GROWTH_MB, "MB")


def commands(home: str) -> Iterator[Line]:
    """Run `status`, each time in a new process."""
    command = [sys.executable, "-m", "app.cli", "status", "--json", "--home", home]
    took = max(timed(subprocess.run, command, check=True, capture_output=True)[0] for _ in range(TRIES))
    yield seconds("meatlizard status (a new process)", took)


def paths() -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return what each of two people looks at, and their logins: an administrator, and who has most conversations."""
    from sqlalchemy import select

    from app.core.db import transaction
    from app.core.models import User
    from app.services import logins, session_list
    from app.web.panels import PANELS

    with transaction() as tx:
        busy = tx.scalars(select(User).where(User.name == "load-0")).one().id
        admin = tx.scalars(select(User).where(User.role.in_(["owner", "admin"])).order_by(User.role.desc())).first()
        assert admin is not None
        tokens = {
            name: logins.begin(tx, who, "password", "load", "127.0.0.1") for name, who in (("admin", admin.id), ("busy", busy))
        }
        query = "select t.id, t.session_id, s.closed_at from turns t join sessions s on s.id = t.session_id where t.user_id = :who"
        turn, session, _ = tx.execute(text(f"{query} and s.closed_at is null order by t.id desc limit 1"), {"who": busy}).one()
    places = [session_list.page(str(busy)).next]
    for _ in range(100):
        places.append(session_list.page(str(busy), places[-1] or "").next)
    ours = [panel.path for panel in PANELS if panel.path != "/flower"]
    spans = [f"/admin/metrics?hours={hours}" for hours in (1, 24, 168, 720)]
    trail = ["/admin/audit?actor=load-7", "/admin/audit?action=token&subject=subject-3", "/admin/audit?before=5000", "/admin/audit/verify"]
    return {
        "admin": ["/", *ours, *spans, *trail, "/flower/", "/api/backups", "/api/state", "/health", "/metrics"],
        "busy": [
            "/", "/account", "/archive", "/discord", "/tokens", f"/s/{session}", f"/trace/{turn}", "/api/sessions", "/api/archive",
            f"/api/sessions?before={places[0]}", f"/api/sessions?before={places[99]}", "/api/sessions?find=marmalade",
            f"/api/sessions?find=marmalade&before={places[99]}", "/api/sessions?find=nothing-has-this", f"/api/sessions/{session}",
            f"/api/sessions/{session}/transcript?format=jsonl", "/api/me/limits",
        ],
    }, tokens  # fmt: skip


def pages(url: str) -> Iterator[Line]:
    """Fetch every page, and what the pages ask for."""
    from app.web.deps import cookie_name
    wanted, tokens = paths()
    for who, found in wanted.items():
        with httpx.Client(base_url=url, cookies={cookie_name(): tokens[who]}, timeout=120) as browser:
            for path in found:
                times = []
                for _ in range(TRIES):
                    took, answer = timed(browser.get, path)
                    times.append(took)
                shown = path if len(path) < 70 else f"{path[:67]}…"
                line = f"{shown} ({who}, {answer.status_code}, {len(answer.content):,} bytes)"
                yield seconds(line, max(times), GOAL_SECONDS if answer.status_code == 200 else 0)


def pictures() -> Iterator[Line]:
    """Draw what Discord is shown."""
    from app.services import metrics
    metrics.picture("turns", 1)  # What is loaded once is not counted.
    for hours in (24, 720):
        yield seconds(f"/metrics in Discord: one plot of {hours} hours", timed(metrics.picture, "first", hours)[0])


def long_transcript(home: str) -> Iterator[Line]:
    """Have the worker keep a conversation of 100,000 messages, and read it back: whole processes, not what they grow by."""
    command = [sys.executable, "-m", "tests.bench.long_transcript", "--home", home]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    what = f"the worker while it keeps a transcript of {found['messages']:,} messages, from {found['worker_before_mb']:.0f} MB"
    yield Line(what, found["worker_mb"], GOAL_TRANSCRIPT_MB, "MB")
    yield Line(f"`transcript export` of its {found['lines']:,.0f} lines", found["export_mb"], GOAL_TRANSCRIPT_MB, "MB")


def sizes(status: dict[str, Any]) -> dict[str, float]:
    """Return the resident memory of the processes of ours, in MB."""
    ours = {name: one["pid"] for name, one in status["processes"].items() if name in ("web", "worker", "beat") and one["pid"]}
    return {name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in ours.items()}


def measured(home: str, load: tuple[int, int] | None) -> Iterator[Line]:
    """Do all of it, in an order in which nothing is in another's way."""
    status = json.loads(
        subprocess.run([sys.executable, "-m", "app.cli", "status", "--json", "--home", home], check=True, capture_output=True).stdout
    )
    before = sizes(status)
    if load:
        print(f"loaded in {timed(write, *load)[0]:.0f} s", flush=True)
        yield from summed()
    yield from commands(home)
    yield from pages(status["url"])
    yield from pictures()
    # Before the jobs, of which one has a backup taken: the worker brings one thing at a time to the store.
    yield from long_transcript(home)
    yield from jobs()
    for name, size in sizes(status).items():
        yield Line(f"growth of {name}, now {size:.0f} MB", size - before[name], GOAL_GROWTH_MB, "MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", required=True)
    parser.add_argument("--turns", type=int, default=10_000_000)
    parser.add_argument("--sessions", type=int, default=50_000)
    parser.add_argument("--measure-only", action="store_true")
    given = parser.parse_args()
    os.environ["MEATLIZARD_HOME"] = given.home
    lines = []
    for line in measured(given.home, None if given.measure_only else (given.turns, given.sessions)):
        print(line.told(), flush=True)
        lines.append(line)
    over = [line.what for line in lines if not line.ok]
    print(f"{len(lines)} measured; over their goals: " + ("; ".join(over) or "none"))
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
