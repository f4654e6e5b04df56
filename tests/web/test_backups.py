"""The page of backups and of the schedule: what is under way, proven, failed, waiting; for those who may, and no one else."""

import re
from datetime import timedelta
from uuid import UUID

from app.core.db import transaction
from app.core.models import Backup, Scheduled, Transcript, User, now
from app.services import backups, transcripts
from app.wire import names
from tests.support import tasks
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.website import Site


def promote(who: Member) -> None:
    with transaction() as tx:
        tx.get_one(User, UUID(who.id)).role = "admin"


def some(state: str, number: int, **more: object) -> Backup:
    return Backup(id=f"20260101T00000{number}Z-000{number}", actor="ada", door="web", state=state, **more)


async def test_the_page_tells_backups_schedule_and_what_waits(site: Site, ada: Member, bob: Member) -> None:
    promote(ada)
    session = ada.session()
    transcripts.enqueue(session, "closed")
    with transaction() as tx:
        tx.get_one(Transcript, UUID(session)).error = "The object store does not answer."
        tx.add_all(
            [
                some("running", 1, phase="counts", share=0.42),
                some("proven", 2, size=123_456_789, facts={"tables": {"users": [1234, "0"]}}, proven_at=now()),
                some("failed", 3, error="messages: 3 rows instead of 4"),
                some("waiting", 4, error="It was cut off, and is taken once more."),
            ]
        )
        soon = now() + timedelta(hours=3)
        tx.add(Scheduled(name="nightly", task="storage.back_up", every="15 3 * * * UTC", last_run_at=now(), next_run_at=soon, runs=1700))
    async with site.browser(ada) as browser:
        page = (await browser.get("/backups")).text
    for words in (
        "Counting and hashing, 42 %",
        "123.5 MB",
        "1,234",
        "messages: 3 rows instead of 4",
        "It was cut off, and is taken once more.",
        "The object store does not answer.",
        "15 3 * * * UTC",
        "1,700",
        soon.isoformat(),
    ):
        assert words in page, words
    heads = re.findall(r'<th scope="col" class="figure">(\w+)</th>', page)
    assert heads == ["Rows", "Size", "Tries", "Runs"], "heads stand above their figures"
    async with site.browser(bob) as browser:
        assert (await browser.get("/backups")).status_code == 403


async def test_who_may_asks_for_one_and_sees_how_it_goes(site: Site, servers: Servers, ada: Member, bob: Member) -> None:
    promote(ada)
    async with site.browser(bob) as browser:
        assert (await browser.post("/api/backups")).status_code == 403
    assert backups.listed() == []
    async with site.browser(ada) as browser:
        asked = await browser.post("/api/backups")
        assert asked.status_code == 202
        [one] = (await browser.get("/api/backups")).json()["backups"]
    assert (one["id"], one["state"]) == (asked.json()["id"], "waiting")
    assert (names.TAKE_BACKUP, [one["id"]]) in tasks.lying(servers.redis, names.STORAGE)
