"""The list of conversations: every one of them once, whatever comes meanwhile, and found by the words of its title."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import insert, text, update

from app.core import keys
from app.core.db import transaction
from app.core.models import Session, new_id, now
from app.services import archive, session_list
from app.wire.errors import BadInput
from app.wire.states import Door
from tests.support.people import Member
from tests.support.servers import Servers


def many(who: Member, count: int, **more: object) -> list[str]:
    """Make conversations, each a second older than the one before, some of them at the same moment."""
    rows = []
    for number in range(count):
        identity, at = new_id(), now() - timedelta(seconds=number // 3)
        title = keys.rest(str(identity)).seal(f"Talk {number} of {'tides' if number % 50 == 7 else 'nothing'}".encode())
        rows.append({"id": identity, "user_id": UUID(who.id), "title": title, "created_at": at, "updated_at": at} | more)
    with transaction() as tx:
        tx.execute(insert(Session), rows)
    return [str(row["id"]) for row in rows]


def walked(who: Member, words: str = "") -> list[session_list.Page]:
    pages = [session_list.page(who.id, words=words)]
    while pages[-1].next:
        pages.append(session_list.page(who.id, pages[-1].next, words))
    return pages


def test_every_one_is_shown_once_and_no_one_elses(servers: Servers, ada: Member, bob: Member) -> None:
    mine = many(ada, 250)
    many(bob, 5)
    many(ada, 150, door=Door.API.value)
    many(ada, 150, closed_at=now())
    pages = walked(ada)
    assert [len(page.sessions) for page in pages] == [100, 100, 50]
    shown = [one for page in pages for one in page.sessions]
    assert len({one.id for one in shown}) == len(shown)
    assert {one.id for one in shown} == set(mine)
    times = [one.updated_at for one in shown]
    assert times == sorted(times, reverse=True)


def test_one_that_comes_first_meanwhile_moves_nothing(servers: Servers, ada: Member) -> None:
    mine = many(ada, 220)
    first = session_list.page(ada.id)
    with transaction() as tx:
        tx.execute(update(Session).where(Session.id == UUID(mine[-1])).values(updated_at=now() + timedelta(minutes=1)))
    ada.session()
    second = session_list.page(ada.id, first.next or "")
    assert not {one.id for one in first.sessions} & {one.id for one in second.sessions}
    assert len(second.sessions) == 100


def test_search_reaches_the_oldest_a_thousand_titles_at_a_time(
    servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(ada, 260)
    monkeypatch.setattr(session_list, "LOOKED_AT", 100)
    pages = walked(ada, "TIDES talk")
    assert [len(page.sessions) for page in pages] == [2, 2, 2]
    assert [one.title for one in pages[-1].sessions] == ["Talk 207 of tides", "Talk 257 of tides"]
    assert [len(page.sessions) for page in walked(ada, "volcano")] == [0, 0, 0]


def test_the_archive_is_walked_the_same_way(servers: Servers, ada: Member) -> None:
    closed = many(ada, 230, closed_at=now())
    first = archive.listed(ada.id)
    second = archive.listed(ada.id, first.next or "")
    third = archive.listed(ada.id, second.next or "")
    shown = [one.id for page in (first, second, third) for one in page.sessions]
    assert (len(shown), set(shown), third.next) == (230, set(closed), None)


@pytest.mark.parametrize("place", ["x", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00_019f", "_"])
def test_a_place_that_is_none_is_refused(servers: Servers, ada: Member, place: str) -> None:
    with pytest.raises(BadInput):
        session_list.page(ada.id, place)
    with pytest.raises(BadInput):
        archive.listed(ada.id, place)


def test_a_page_is_read_from_its_index_alone(servers: Servers, ada: Member) -> None:
    """However much of the programs' and of the archive lies between, a page reads as many rows as it shows."""
    many(ada, 300)
    with transaction() as tx:
        tx.execute(
            text(
                "insert into sessions (id, user_id, door, closed_at, created_at, updated_at) select gen_random_uuid(), :who, "
                "case when n % 2 = 0 then 'api' else 'web' end, case when n % 2 = 1 then now() end, now(), now() "
                "from generate_series(1, 2000) n"
            ),
            {"who": ada.id},
        )
        tx.execute(text("analyze sessions"))
        # So few rows would be sorted; so many as people have would not.
        tx.execute(text("set local enable_sort = off"))
        plan = tx.scalar(
            text(
                "explain (analyze, format json) select id, title, updated_at from sessions where user_id = :who and closed_at is null "
                "and door <> 'api' and (updated_at, id) < (now(), gen_random_uuid()) order by updated_at desc, id desc limit 100"
            ),
            {"who": ada.id},
        )
    [scan] = plan[0]["Plan"]["Plans"]
    assert (scan["Index Name"], scan["Actual Rows"], scan.get("Rows Removed by Filter", 0)) == ("ix_sessions_open", 100, 0)
