"""The audit trail: what was changed, removed or put elsewhere shows, and it can be read page by page."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import delete, text, update
from typer.testing import CliRunner

from app.core.db import transaction
from app.core.models import AuditRecord, now
from app.services import audit, chain, trail
from app.services.trail import Filter
from app.verbs import app
from app.wire.states import Door
from tests.support.servers import Servers


@pytest.fixture(autouse=True)
def _ten(servers: Servers) -> None:
    for number in range(1, 11):
        with transaction() as tx:
            audit.record(tx, "ada" if number % 2 else "bob", Door.WEB, "user.add" if number < 6 else "login", f"s{number}", n=number)


def change(statement: object) -> None:
    with transaction() as tx:
        tx.execute(statement)  # type: ignore[call-overload]


def test_a_whole_trail_is_sound() -> None:
    found = chain.verified()
    assert (found.sound, found.records, found.broken) == (True, 10, None)
    assert found.head == trail.shown(trail.listed(most=1)[0])["hash"]


@pytest.mark.parametrize(
    ("values", "number"),
    [
        ({"actor": "eve"}, 4),
        ({"details": {"n": 99}}, 4),
        ({"at": now() - timedelta(days=9)}, 4),
        ({"door": "cli"}, 1),
        ({"subject": ""}, 10),
    ],
)
def test_a_changed_record_shows(values: dict[str, object], number: int) -> None:
    change(update(AuditRecord).where(AuditRecord.id == number).values(values))
    found = chain.verified()
    assert (found.sound, found.records, found.broken) == (False, number - 1, number)


@pytest.mark.parametrize("number", [1, 5])
def test_a_removed_record_shows(number: int) -> None:
    change(delete(AuditRecord).where(AuditRecord.id == number))
    assert chain.verified().broken == number


def test_a_removed_record_shows_also_where_the_rest_closes_ranks() -> None:
    change(delete(AuditRecord).where(AuditRecord.id == 5))
    for number in range(6, 11):
        change(update(AuditRecord).where(AuditRecord.id == number).values(id=number - 1))
    assert chain.verified().broken == 5


def test_records_that_changed_places_show() -> None:
    for old, new in ((3, 100), (4, 3), (100, 4)):
        change(update(AuditRecord).where(AuditRecord.id == old).values(id=new))
    assert chain.verified().broken == 3


def test_a_trail_cut_short_shows_against_a_head_that_was_noted() -> None:
    noted = {10: chain.verified().head}
    assert chain.verified(noted).sound
    change(delete(AuditRecord).where(AuditRecord.id > 7))
    assert chain.verified().sound, "nothing in the trail itself tells"
    assert chain.verified(noted).broken == 10


def test_a_trail_made_anew_from_the_start_shows_against_a_head_that_was_noted() -> None:
    noted = {10: chain.verified().head}
    change(text("truncate audit_log"))
    for number in range(1, 12):
        with transaction() as tx:
            audit.record(tx, "eve", Door.WEB, "login", f"s{number}")
    assert chain.verified().sound
    assert chain.verified(noted).broken == 10


def test_read_with_filters_and_page_by_page() -> None:
    assert [row.id for row in trail.listed(most=3)] == [10, 9, 8]
    assert [row.id for row in trail.listed(before=8, most=3)] == [7, 6, 5]
    assert {row.actor for row in trail.listed(Filter(actor="ada"))} == {"ada"}
    assert [row.id for row in trail.listed(Filter(action="user"))] == [5, 4, 3, 2, 1]
    assert trail.listed(Filter(action="use")) == trail.listed(Filter(action="u%")) == []
    assert [row.id for row in trail.listed(Filter(subject="s7"))] == [7]
    assert trail.listed(Filter(since=now() + timedelta(hours=1))) == []
    assert len(trail.listed(Filter(until=now() + timedelta(hours=1), door="web"))) == 10
    assert trail.actions() == ["login", "user.add"]


def test_the_list_cuts_no_id_short_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = "01a2251e-ede9-7493-83db-2afcb987bc5c"
    with transaction() as tx:
        audit.record(tx, "cli", Door.CLI, "transcript.export", subject, address="203.0.113.7")
    monkeypatch.setenv("COLUMNS", "80")
    said = CliRunner().invoke(app, ["audit", "list", "--most", "1"])
    assert said.exit_code == 0, said.output
    columns = zip(*(line.split("│") for line in said.output.splitlines() if line.startswith("│")), strict=True)
    told = ["".join(part.strip() for part in column) for column in columns]
    assert {"transcript.export", subject, "address=203.0.113.7"} <= set(told)


def test_an_export_holds_all_and_is_recorded_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "CHUNK", 4)
    rows = [json.loads(line) for line in trail.exported(Filter(), "ada", Door.WEB)]
    assert [row["id"] for row in rows] == list(range(1, 12))
    assert rows[-1]["action"] == "audit.export"
    assert [row["previous"] for row in rows[1:]] == [row["hash"] for row in rows[:-1]]
