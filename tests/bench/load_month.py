"""Loads a month of made-up traffic into a running stack, then tells how long every page and every job of beat takes.

`make load-month ARGS="--home DIR"`; the stack keeps the made-up rows, so use a home of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psutil
from sqlalchemy import text

DAYS = 30
PEOPLE = 500
METRICS = """
insert into metrics (turn_id, attempt, at, user_id, outcome, door, lane, node, model, queue_ms, first_token_ms, prompt_ms,
  total_ms, prompt_tokens, completion_tokens, tokens_per_second)
select gen_random_uuid(), 1, cast(:day as timestamptz) + random() * interval '1 day',
  (array(select id from users where name like 'load-%'))[1 + floor(power(random(), 2) * :people)::int],
  (array['done','done','done','done','done','done','done','failed','cancelled'])[1 + floor(random() * 9)::int],
  (array['web','web','web','api','discord'])[1 + floor(random() * 5)::int],
  (array['queue','queue','discord'])[1 + floor(random() * 3)::int], 'node-' || (1 + floor(random() * 4))::int,
  (array['small','large'])[1 + floor(random() * 2)::int], -800 * ln(1 - random()), 80 - 400 * ln(1 - random()),
  60 - 300 * ln(1 - random()), 2000 - 9000 * ln(1 - random()), (20 + random() * 2000)::int, (5 + random() * 900)::int,
  15 + random() * 60
from generate_series(1, :count)
"""
SAMPLES = """
insert into samples (kind, subject, at, value)
select kind, 'node-' || node, moment, 40 + random() * 40 from generate_series(1, 4) node,
  unnest(array['node.memory','node.heat','node.speed','node.busy']) kind,
  generate_series(cast(:day as timestamptz), cast(:day as timestamptz) + interval '1 day' - interval '30 s', interval '30 s') moment
on conflict do nothing
"""
TURNS = """
with asked as (insert into messages (id, session_id, role, body, created_at)
    select gen_random_uuid(), id, 'user', 'x', created_at from sessions where node = 'load' returning id, session_id, created_at)
insert into turns (id, session_id, user_id, client_id, prompt_id, door, state, attempt, stopped, sampling, left_out, created_at,
  finished_at)
select gen_random_uuid(), asked.session_id, sessions.user_id, gen_random_uuid(), asked.id, 'web', 'cancelled', 1, false, '{}', 0,
  asked.created_at, asked.created_at + interval '5 s' from asked join sessions on sessions.id = asked.session_id
"""


def timed(work: Callable[..., Any], *words: Any, **named: Any) -> tuple[float, Any]:
    """Return the seconds that a call took, and what it returned."""
    began = time.monotonic()
    found = work(*words, **named)
    return time.monotonic() - began, found


def load(turns: int, conversations: int) -> None:
    """Write the rows; those of a day in one statement."""
    from app.core import keys
    from app.core.db import engine, transaction
    from app.core.models import User, new_id
    from app.services import partitions

    first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    days = [first + timedelta(days=count) for count in range(DAYS)]
    for table in partitions.TABLES:
        partitions.ensure(table, [day.date() for day in days])
    with transaction() as tx:
        people = [User(id=new_id(), name=f"load-{count}", password_hash=None, role="member") for count in range(PEOPLE)]
        tx.add_all(people)
    with engine().connect() as connection:
        connection.execute(text("set statement_timeout = 0"))
        for day in days:
            place = {"day": day, "count": turns // DAYS, "people": PEOPLE}
            took, _ = timed(connection.execute, text(METRICS), place)
            connection.execute(text(SAMPLES), place)
            connection.commit()
            print(f"  {day:%F}: {turns // DAYS:,} turns in {took:.1f} s", flush=True)
        owners = [people[0].id] * 5000 + [person.id for person in people]
        rows = []
        for count in range(conversations):
            identity, at = new_id(), first + timedelta(days=DAYS) * count / conversations
            title = keys.rest(str(identity)).seal(f"Conversation {count}".encode())
            rows.append({"id": identity, "user": owners[count % len(owners)], "title": title, "at": at})
        query = text(
            "insert into sessions (id, user_id, title, node, created_at, updated_at) values (:id, :user, :title, 'load', :at, :at)"
        )
        connection.execute(query, rows)
        connection.execute(text(TURNS))
        connection.execute(text("insert into rollup_marks values ('metrics', :at), ('samples', :at) "
                                "on conflict (name) do update set upto = excluded.upto"), {"at": first})
        connection.commit()
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("analyze"))


def jobs() -> Iterator[tuple[str, float, float]]:
    """Run every job of beat: name, seconds, and by how many MB this process grew."""
    import importlib

    from workers.app import TASKS, app

    for name in TASKS:
        importlib.import_module(name)
    own = psutil.Process()
    for entry, options in sorted(app.conf.beat_schedule.items()):
        task = app.tasks.get(options["task"])
        if task is None:
            continue
        before = own.memory_info().rss
        took, _ = timed(task.run, *options.get("args", ()))
        yield entry, took, (own.memory_info().rss - before) / 1e6


def pages(url: str) -> Iterator[tuple[str, float]]:
    """Fetch every page as an administrator, and the sidebar as somebody with thousands of sessions."""
    from sqlalchemy import select

    from app.core.db import transaction
    from app.core.models import User
    from app.services import accounts
    from app.web.deps import cookie_name
    from app.web.panels import PANELS

    with transaction() as tx:
        busy = tx.scalars(select(User).where(User.name == "load-0")).one().id
        admin = tx.scalars(select(User).where(User.role.in_(["owner", "admin"]))).first()
        assert admin is not None
        logins = {who: accounts._login(tx, UUID(str(who)), "load", "127.0.0.1") for who in (busy, admin.id)}
    paths = ["/", *(panel.path for panel in PANELS), *(f"/admin/metrics?hours={hours}" for hours in (1, 24, 168, 720)), "/metrics"]
    for who, found in ((admin.id, paths), (busy, ["/", "/api/sessions", "/api/sessions?before=2100-01-01T00:00:00Z"])):
        with httpx.Client(base_url=url, cookies={cookie_name(): logins[who]}, timeout=120) as browser:
            for path in found:
                took, answer = timed(browser.get, path)
                name = f"{path} ({'busy member' if who == busy else 'admin'}, {answer.status_code}, {len(answer.content):,} B)"
                yield name, took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", required=True)
    parser.add_argument("--turns", type=int, default=10_000_000)
    parser.add_argument("--sessions", type=int, default=50_000)
    parser.add_argument("--measure-only", action="store_true")
    given = parser.parse_args()
    os.environ["MEATLIZARD_HOME"] = given.home
    if not given.measure_only:
        print(f"loaded in {timed(load, given.turns, given.sessions)[0]:.0f} s")
        from app.services import rollup

        steps: list[float] = []
        while True:
            took, done = timed(rollup.roll_up)
            steps.append(took)
            if done == 0:
                break
        print(f"the whole month summed in {sum(steps):.1f} s, longest run {max(steps):.1f} s")
    slow = []
    for name, took, grown in jobs():
        print(f"{took * 1000:9.0f} ms  {grown:+6.1f} MB  job {name}")
        slow += [name] if took > (60 if "roll" in name else 1) else []
    command = [sys.executable, "-m", "app.cli", "status", "--json", "--home", given.home]
    took, told = timed(subprocess.run, command, check=True, capture_output=True)
    print(f"{took * 1000:9.0f} ms  meatlizard status (a new process)")
    for name, took in pages(json.loads(told.stdout)["url"]):
        print(f"{took * 1000:9.0f} ms  {name}")
        slow += [name] if took > 1 else []
    print("slower than they may be: " + (", ".join(slow) or "none"))


if __name__ == "__main__":
    main()
