"""The picture of a turn's way, in the width of a phone and of a desk: all of it is seen, and no word stands on another."""

from typing import Any, Final

import pytest
from markupsafe import Markup
from playwright.async_api import Page, Route, expect

from app.services import traces, waterfall
from app.services.traces import Trace
from app.wire import hops
from tests.browser.conftest import Opener
from tests.browser.stage import Stage

# Of each words: how far left and right of the picture, and whether another's words of its row lie below.
LOOK: Final = """shape => [...document.querySelectorAll(`.wf.${shape} g`)].map(row => {
  const frame = row.closest('.plot').getBoundingClientRect()
  const boxes = [...row.querySelectorAll('text')].map(text => text.getBoundingClientRect())
  const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top + 4 || b.bottom <= a.top + 4
  return {
    words: row.textContent,
    inside: boxes.every(box => box.left >= frame.left && box.right <= frame.right),
    apart: boxes.every((one, index) => boxes.slice(index + 1).every(other => apart(one, other))),
    size: Math.min(...boxes.map(box => box.height)),
  }
})"""

# What has to be scrolled sideways to be seen.
WIDER: Final = """() => [document.documentElement, ...document.querySelectorAll('main *')]
  .filter(one => one === document.documentElement || ['auto', 'scroll'].includes(getComputedStyle(one).overflowX))
  .filter(one => one.scrollWidth > one.clientWidth + 1)
  .map(one => one.outerHTML.slice(0, 80))"""


def way() -> Trace:
    """A turn that every hop stamped, written for as long as a reply is."""
    at, since = 0.0, {}
    for hop in hops.WHO:
        since[hop] = at = at + (4_000.0 if hop == hops.LAST else 250.0 if hop == hops.FIRST else 3.5)
    since |= {hops.RELAYED: since[hops.FIRST] + 3.0, hops.PAINTED: since[hops.FIRST] + 4.0}
    return Trace("t", "s", "done", 1, "queue", "home", "SmolLM2", "web", "2026-01-01T00:00:00+00:00", traces.bars(since), since)


@pytest.mark.parametrize(("width", "shape", "other"), [(320, "narrow", "wide"), (390, "narrow", "wide"), (1280, "wide", "narrow")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_way_of_a_turn_fits_the_page(
    stage: Stage, open_page: Opener, width: int, shape: str, other: str, scheme: Any
) -> None:
    page: Page = await open_page("/login")
    await page.set_viewport_size({"width": width, "height": 844})
    await page.emulate_media(color_scheme=scheme)
    drawn = [Markup(waterfall.svg(way(), one)) for one in (waterfall.WIDE, waterfall.NARROW)]
    body = stage.rendered(
        "trace.html", who={"name": "ada"}, panels={}, here=None, trace=way(), pictures=drawn, duration=waterfall.duration
    )

    async def answer(route: Route) -> None:
        await route.fulfill(body=body, content_type="text/html")

    await page.route("**/trace/t", answer)
    await page.goto(stage.url + "/trace/t")
    await expect(page.locator(f".wf.{shape}")).to_be_visible()
    await expect(page.locator(f".wf.{other}")).to_be_hidden()
    assert await page.evaluate(WIDER) == []
    rows = await page.evaluate(LOOK, shape)
    assert len(rows) == len(hops.STEPS)
    assert [row["words"] for row in rows if not (row["inside"] and row["apart"])] == []
    assert min(row["size"] for row in rows) >= 10
