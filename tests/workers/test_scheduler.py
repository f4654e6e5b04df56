"""The schedule: each run once, with two beats, after a restart, after an emptied Redis, and made up when it was missed."""

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab, schedule
from rich.console import Console
from sqlalchemy import update

from app.core.db import transaction
from app.core.models import Scheduled
from app.local import keeping
from app.services import schedule as rows
from app.services import transcripts
from app.wire import names
from tests.support import tasks
from tests.support.containers import ProcessContainer
from tests.support.people import member
from tests.support.servers import Servers
from tests.support.waiting import until
from workers.scheduler import RowScheduler, words


@pytest.fixture
def app(servers: Servers) -> Celery:
    made = Celery("tests", broker=servers.settings.redis_url, set_as_current=False)
    made.config_from_object("celeryconfig")
    made.conf.beat_schedule = {
        "often": {"task": names.SWEEP, "schedule": 5.0},
        "nightly": {"task": names.EXPIRE_LOGINS, "schedule": crontab.from_string("15 3 * * *")},
    }
    return made


def beat(app: Celery) -> RowScheduler:
    made = RowScheduler(app)
    made.tick()
    return made


def ran_long_ago(name: str, **ago: float) -> None:
    with transaction() as tx:
        tx.execute(update(Scheduled).where(Scheduled.name == name).values(last_run_at=datetime.now(UTC) - timedelta(**ago)))


def sent(servers: Servers, task: str) -> int:
    lying = tasks.lying(servers.redis, names.TURNS) + tasks.lying(servers.redis, names.UPKEEP)
    return sum(name == task for name, _ in lying)


def test_a_new_entry_waits_for_its_hour(app: Celery, servers: Servers) -> None:
    beat(app)
    assert sent(servers, names.SWEEP) == sent(servers, names.EXPIRE_LOGINS) == 0
    found = {entry.name: entry for entry in rows.listed()}
    assert set(found) == {"often", "nightly"}
    assert found["nightly"].next_run_at.astimezone(UTC).strftime("%H:%M") == "03:15"
    assert (found["often"].every, found["nightly"].every) == ("every 5 seconds", "15 3 * * * UTC")


def test_what_was_missed_is_made_up_once(app: Celery, servers: Servers) -> None:
    beat(app)
    ran_long_ago("nightly", days=10)
    ran_long_ago("often", hours=1)
    started = beat(app)
    assert sent(servers, names.EXPIRE_LOGINS) == 1, "once, not ten times"
    assert sent(servers, names.SWEEP) == 1
    started.tick()
    beat(app)
    assert sent(servers, names.EXPIRE_LOGINS) == 1
    found = {entry.name: entry for entry in rows.listed()}
    assert found["nightly"].runs == 1
    assert found["nightly"].next_run_at > datetime.now(UTC)


def test_two_beats_send_once(app: Celery, servers: Servers) -> None:
    first, second = beat(app), beat(app)
    ran_long_ago("often", hours=1)
    for entry in (*first.data.values(), *second.data.values()):
        entry.last_run_at = datetime.now(UTC) - timedelta(days=3)  # Both believe that it is time.
    first.tick()
    second.tick()
    assert sent(servers, names.SWEEP) == 1


def test_an_entry_that_another_beat_holds_is_left_to_it(app: Celery, servers: Servers) -> None:
    started = beat(app)
    ran_long_ago("often", hours=1)
    started.data["often"].last_run_at = datetime.now(UTC) - timedelta(hours=1)
    with rows.claim("often") as held:
        assert held is not None
        assert started.tick() <= 2
        assert sent(servers, names.SWEEP) == 0
    started.tick()
    assert sent(servers, names.SWEEP) == 1, "the other one died without sending it"


def test_an_emptied_redis_changes_nothing(app: Celery, servers: Servers) -> None:
    started = beat(app)
    servers.redis.flushall()
    started.tick()
    beat(app)
    assert sent(servers, names.EXPIRE_LOGINS) == 0
    assert len(rows.listed()) == 2


def test_a_broker_that_is_away_means_later(app: Celery, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    started = beat(app)
    ran_long_ago("often", hours=1)
    started.data["often"].last_run_at = datetime.now(UTC) - timedelta(hours=1)
    real = started.apply_async

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("refused")

    monkeypatch.setattr(started, "apply_async", refuse)
    assert started.tick() <= 2
    monkeypatch.setattr(started, "apply_async", real)
    started.tick()
    assert sent(servers, names.SWEEP) == 1


def test_changed_and_removed_entries_are_followed(app: Celery) -> None:
    beat(app)
    ran_long_ago("often", seconds=1)
    app.conf.beat_schedule = {"often": {"task": names.SWEEP, "schedule": 60.0}}
    beat(app)
    [entry] = rows.listed()
    assert (entry.name, entry.every) == ("often", "every minute")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1, "every second"), (90, "every 90 seconds"), (300, "every 5 minutes"), (3600, "every hour"), (172800, "every 2 days")],
)
def test_says_how_often_in_words(seconds: int, said: str) -> None:
    assert words(schedule(seconds)) == said


def test_real_beats_share_the_work_and_survive_each_other(servers: Servers, tmp_path: Path) -> None:
    """Two processes; one is killed, Redis is emptied, and the sweeps go on without a pause for a lock."""
    home = {"MEATLIZARD_HOME": str(servers.home.path)}
    beats = [ProcessContainer(f"beat-{number}", ["beat"], tmp_path, home, "") for number in (1, 2)]

    def runs() -> int:
        return next((entry.runs for entry in rows.listed() if entry.name == "sweep"), 0)

    try:
        until(lambda: runs() >= 1, said=lambda: [one.logs() for one in beats])
        beats[0].kill(signal.SIGKILL)
        servers.redis.flushall()
        before = runs()
        until(lambda: runs() >= before + 1, said=lambda: beats[1].logs())
        assert sent(servers, names.SWEEP) <= runs() - before + 1
        assert beats[1].status == "running"
    finally:
        for one in beats:
            one.teardown()


def test_status_tells_it_and_what_waits(app: Celery, servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    beat(app)
    who = member("ada")
    transcripts.enqueue(who.session(), "closed")
    found = keeping.told(servers.settings)
    assert [(one["name"], one["every"], one["last"]) for one in found["schedule"]] == [
        ("often", "every 5 seconds", None),
        ("nightly", "15 3 * * * UTC", None),
    ]
    assert all(one["next"].endswith("Z") for one in found["schedule"])
    assert (found["transcripts_waiting"], found["proven_backup"]) == (1, None)
    Console(width=120).print(keeping.table(found), *keeping.lines(found))
    shown = capsys.readouterr().out
    assert "15 3 * * * UTC" in shown
    assert "1 transcripts wait" in shown
