"""The panels of whoever looks after the platform: what was measured is there, for whom it is meant, and no word of text."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest

from app.core.db import transaction
from app.core.models import User
from app.core.presence import Presence
from app.services import metrics, plots, rollup, samples
from app.web import plot
from app.wire.errors import BadInput
from tests.services.test_metrics import figures
from tests.support import nodes
from tests.support.nodes import PlayedNode
from tests.support.people import Member
from tests.support.website import Site


@pytest.fixture
def measured(ada: Member) -> None:
    """An administrator, and a little of everything over a day."""
    with transaction() as tx:
        tx.get_one(User, UUID(ada.id)).role = "admin"
    nodes.ready(memory=3_100_000_000, heat=61.5, tokens_per_second=48)
    now = datetime.now(UTC)
    metrics.log_turns(
        [
            figures(
                now - timedelta(minutes=9 * count),
                outcome="failed" if count % 13 == 0 else "done",
                user_id=ada.id,
                node="attic" if count % 3 == 0 else "home",
                first_token_ms=80.0 + count % 17 * 40,
            )
            for count in range(150)
        ]
    )
    metrics.log_samples(
        [
            {"kind": kind, "subject": "home", "at": now - timedelta(minutes=5 * count), "value": value * (1 + count % 7 / 20)}
            for kind, value in (("node.memory", 3.1e9), ("node.heat", 55.0))
            for count in range(280)
        ]
    )
    samples.take()
    rollup.roll_up()
    Presence("worker").say()


@pytest.mark.usefixtures("measured")
async def test_an_administrator_sees_plots_tables_and_processes(site: Site, ada: Member, bob: Member) -> None:
    async with site.browser(ada) as browser:
        for hours in (1, 24, 168, 720):
            page = await browser.get("/admin/metrics", params={"hours": hours})
            assert page.status_code == 200
            assert "attic" in page.text
            assert page.text.count('<svg class="chart"') >= 6
            for drawn in re.findall(r'<svg class="chart".*?</svg>', page.text, re.DOTALL):
                ET.fromstring(drawn)
            assert "style=" not in page.text, "the content security policy would not let it pass"
        overview = await browser.get("/admin")
        assert overview.status_code == 200
        assert "worker" in overview.text
        assert "stand-in" in overview.text
    async with site.browser(bob) as browser:
        for path in ("/admin", "/admin/metrics"):
            assert (await browser.get(path)).status_code == 403


async def test_an_empty_platform_has_empty_panels(site: Site, ada: Member) -> None:
    with transaction() as tx:
        tx.get_one(User, UUID(ada.id)).role = "owner"
    async with site.browser(ada) as browser:
        page = await browser.get("/admin/metrics")
        assert "No turn ended in this time" in page.text
        assert "There is no node yet" in (await browser.get("/admin")).text


async def test_the_way_of_a_turn_is_shown_to_its_owner_alone(site: Site, ada: Member, bob: Member, node: PlayedNode) -> None:
    session = ada.session()
    async with site.page(ada, session) as page:
        turn = (await page.ask("SECRET-PROMPT"))["turn"]
        await node.answer("SECRET-REPLY")
        await page.hear("done")
    async with site.browser(ada) as browser:
        shown = await browser.get(f"/trace/{turn}")
        assert shown.status_code == 200
        assert "Waits for a slot" in shown.text
        assert "SECRET" not in shown.text
    async with site.browser(bob) as browser:
        assert (await browser.get(f"/trace/{turn}")).status_code == 404


@pytest.mark.usefixtures("measured")
async def test_a_plot_is_a_png_of_a_readable_size() -> None:
    for kind in ("all", *plots.TITLES):
        png = await asyncio.to_thread(metrics.picture, kind, 24)
        assert png.startswith(b"\x89PNG")
        assert len(png) < 1_000_000
    with pytest.raises(BadInput):
        metrics.picture("nonsense", 24)


def test_a_plot_breaks_where_nothing_was_measured_and_says_its_figures() -> None:
    shown = plots.Plot("heat", "Heat & more", "°C", [plots.Line("<home>", [1.0, None, 3.0, 4.0])])
    moments = [datetime(2026, 11, 23, hour, tzinfo=UTC).isoformat() for hour in range(4)]
    drawn: Any = ET.fromstring(plot.svg(shown, moments))
    space = "{http://www.w3.org/2000/svg}" if drawn.tag.startswith("{") else ""
    [line] = drawn.iter(f"{space}path")
    assert line.get("d").count("M") == 2
    assert plot.DOT in line.get("d"), "a lone point is seen"
    titles = [one.text for one in drawn.iter(f"{space}title")]
    assert titles[0] == "23 Nov 00:00 UTC: <home> 1"
    assert titles[1].endswith("nothing")
    assert drawn.get("aria-label") == "Heat & more, °C; latest: <home> 4"


@pytest.mark.parametrize(("value", "told"), [(0.345, "0.345"), (12, "12"), (4200, "4.2k"), (1.3e6, "1.3M"), (2e9, "2G")])
def test_figures_are_told_in_few_characters(value: float, told: str) -> None:
    assert plot.number(value) == told
