"""Beat's scheduler: what ran when stands in PostgreSQL, so that two beats, restarts and emptied Redises do no harm."""

from datetime import timedelta
from typing import Any, Final

import structlog
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import crontab, schedule

from app.services import schedule as rows
from app.wire.errors import Unavailable

log = structlog.get_logger(__name__)

RETRY_SECONDS: Final = 2.0
"""How soon an entry is looked at again that another beat holds, or that could not be sent."""


class RowScheduler(Scheduler):  # type: ignore[misc]  # Celery has no types.
    """Sends what is due, each entry under its row's lock, and once for however many runs were missed."""

    def setup_schedule(self) -> None:
        """Take the entries from the configuration; the rows follow at the first tick that reaches PostgreSQL."""
        self.data: dict[str, ScheduleEntry] = {}
        self._known = False

    def tick(self, *_: Any, **__: Any) -> float:
        """Send what is due; return the seconds until something is."""
        try:
            self._learn()
            waits = [self._look(entry) for entry in list(self.data.values())]
        except Unavailable as error:
            log.warning("beat.waits", error=str(error))
            return RETRY_SECONDS
        return min([*waits, float(self.max_interval)])

    def _learn(self) -> None:
        if self._known:
            return
        entries = {name: self._entry(name, given) for name, given in self.app.conf.beat_schedule.items()}
        wanted = {
            name: (entry.task, words(entry.schedule), self._next(entry, entry.default_now()))
            for name, entry in entries.items()
        }
        for name, last in rows.know(wanted).items():
            entries[name].last_run_at = last
        self.data, self._known = entries, True

    def _entry(self, name: str, given: dict[str, Any]) -> ScheduleEntry:
        return self.Entry(**given, name=name, app=self.app)

    def _look(self, entry: ScheduleEntry) -> float:
        due, wait = entry.is_due()
        if not due:
            return float(wait)
        with rows.claim(entry.name) as claim:
            if claim is None:
                return RETRY_SECONDS
            entry.last_run_at = claim.last_run_at
            due, wait = entry.is_due()
            if not due:  # The other beat was first.
                return float(wait)
            try:
                self.apply_async(entry, advance=False)
            except Exception as error:
                # The broker is away: the row stays as it was, and the run is made up.
                log.warning("beat.not_sent", entry=entry.name, error=str(error))
                return RETRY_SECONDS
            now = entry.default_now()
            claim.ran = (now, self._next(entry, now))
        entry.last_run_at = now
        return float(entry.is_due().next)

    def _next(self, entry: ScheduleEntry, last: Any) -> Any:
        found = entry.default_now() + max(entry.schedule.remaining_estimate(last), timedelta(0))
        # To the second: the clock went on between the estimate's look at it and ours.
        return (found + timedelta(milliseconds=500)).replace(microsecond=0)

    @property
    def info(self) -> str:
        """What beat says of itself when it starts."""
        return "       . rows in PostgreSQL"


def words(when: schedule) -> str:
    """Return an entry's schedule for people."""
    if isinstance(when, crontab):
        fields = (when._orig_minute, when._orig_hour, when._orig_day_of_month, when._orig_month_of_year)
        return " ".join(str(field) for field in (*fields, when._orig_day_of_week)) + " UTC"
    seconds = when.run_every.total_seconds()
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"every {unit}" if count == 1 else f"every {count} {unit}s"
    return f"every {seconds:g} seconds"
