"""The rule that shows each byte once (turns.js), tried in Chromium with every order, loss and doubling we can think of."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.async_api import BrowserContext, Page

from tests.browser.conftest import fixture
from tests.browser.stage import Json, Stage, written

TEXT = "Geckos – 🦎 **hold** on.\n\n```py\nx = 'é'\n```\n\n- one\n- two\n\nThe end, é 𝄞."
PLAY = """async (events) => {
  const { Reply } = await import("/static/turns.js");
  const reply = new Reply("t");
  const outcomes = events.map((event) => reply.take(event));
  const { text, bytes, tail, tailAt, blocks, state, attempt } = reply;
  return { outcomes, text, bytes, tail, tailAt, state, attempt, html: blocks.map((b) => b.html), ends: blocks.map((b) => b.to) };
}"""


@pytest.fixture
def started() -> Json:
    """The event before the first delta."""
    return {"event": "started", "turn": "t", "attempt": 1, "at": 0, "node": "home", "left_out": 0}


@fixture
async def page(stage: Stage, context: BrowserContext) -> Page:
    """A page to run the module in."""
    page = await context.new_page()
    await page.goto(stage.url)
    return page


def html_of(text: str) -> list[str]:
    return [event["html"] for event in written("t", text) if event["event"] == "block"]


async def play(page: Page, events: list[Json]) -> Json:
    result: Json = await page.evaluate(PLAY, events)
    return result


async def test_a_reply_in_order_is_whole(page: Page, started: Json) -> None:
    result = await play(page, [started, *written("t", TEXT)])
    assert (result["text"], result["bytes"]) == (TEXT, len(TEXT.encode()))
    assert result["html"] == html_of(TEXT)
    assert TEXT.encode()[result["tailAt"] :].decode() == result["tail"]
    assert "gap" not in result["outcomes"]


async def test_every_event_twice_changes_nothing(page: Page, started: Json) -> None:
    events = [event for one in [started, *written("t", TEXT, step=3)] for event in (one, one)]
    result = await play(page, [*events, started, *written("t", TEXT, step=5)])
    assert result["text"] == TEXT
    assert result["html"] == html_of(TEXT)


@pytest.mark.parametrize("lost", range(0, 24, 3))
async def test_a_lost_delta_is_a_gap_and_its_replay_mends_it(lost: int, page: Page, started: Json) -> None:
    events = written("t", TEXT, step=4)
    deltas = [event for event in events if event["event"] == "delta"]
    gone = deltas[lost % len(deltas)]
    broken = await play(page, [started, *(event for event in events if event is not gone)])
    assert TEXT.startswith(broken["text"])
    assert broken["bytes"] == gone["at"] if gone is not deltas[-1] else True
    assert ("gap" in broken["outcomes"]) is (gone is not deltas[-1])
    mended = await play(page, [started, *(event for event in events if event is not gone), *events])
    assert (mended["text"], mended["html"]) == (TEXT, html_of(TEXT))


@pytest.mark.parametrize("at", [0, 1, 6, 12, 16, 33, 46, 60])
async def test_a_later_attempt_replaces_what_follows_its_beginning(at: int, page: Page, started: Json) -> None:
    kept = TEXT.encode()[:at].decode(errors="ignore")
    begin = len(kept.encode())
    other = kept + "and\n\nnow *something* else\n\nfor é.\n"
    second = {**started, "attempt": 2, "at": begin}
    late = [{**event, "at": event.get("at", 0)} for event in written("t", TEXT, step=9) if event["event"] == "delta"]
    events = [started, *written("t", TEXT, step=5), second, *late, *written("t", other, attempt=2, at=begin)]
    result = await play(page, events)
    assert (result["text"], result["attempt"]) == (other, 2)
    assert other.encode()[result["tailAt"] :].decode() == result["tail"]
    assert result["ends"] == sorted(set(result["ends"]))


async def test_a_delta_of_an_attempt_whose_beginning_was_lost_fetches_the_whole(page: Page, started: Json) -> None:
    second = {"event": "delta", "turn": "t", "attempt": 2, "at": 40, "text": "other"}
    result = await play(page, [started, *written("t", TEXT), second])
    assert result["outcomes"][-1] == "gap"
    assert result["bytes"] == 0


async def test_the_whole_replaces_what_is_shown_where_it_differs(page: Page, started: Json) -> None:
    done = {
        "event": "done",
        "turn": "t",
        "attempt": 1,
        "message": "m",
        "at": 5,
        "html": "<p>other</p>",
        "text": "other",
    }
    result = await play(page, [started, *written("t", TEXT), done])
    assert (result["html"], result["tail"], result["text"], result["state"]) == (["<p>other</p>"], "", "other", "done")


async def test_nothing_moves_a_finished_turn(page: Page, started: Json) -> None:
    failed = {"event": "failed", "turn": "t", "attempt": 1, "reason": "because", "retry": True}
    result = await play(page, [started, failed, {**started, "attempt": 2}, *written("t", TEXT, attempt=2)])
    assert (result["state"], result["text"]) == ("failed", "")


EVENTS = [
    {"event": "started", "turn": "t", "attempt": 1, "at": 0, "node": "home", "left_out": 0},
    *written("t", TEXT, step=6),
]


@fixture
async def tried(page: Page) -> Any:
    """Many orders at once: one call into the page is what costs."""

    async def tried(orders: list[list[int]]) -> list[Json]:
        script = f"async (orders) => {{ const play = {PLAY}; return Promise.all(orders.map(play)); }}"
        result: list[Json] = await page.evaluate(script, [[EVENTS[i] for i in order] for order in orders])
        return result

    return tried


async def test_whatever_the_order_what_is_shown_is_the_beginning_of_the_reply(tried: Any) -> None:
    orders: list[list[int]] = []

    @settings(max_examples=400, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(0, len(EVENTS) - 1), max_size=60))
    def collect(order: list[int]) -> None:
        orders.append(order)

    collect()
    for result in await tried(orders):
        assert TEXT.startswith(result["text"])
        assert result["bytes"] == len(result["text"].encode())
        assert TEXT.encode()[result["tailAt"] : result["bytes"]].decode() == result["tail"]
        assert result["html"] == html_of(TEXT)[: len(result["html"])]
    for result in await tried([[*order, *range(len(EVENTS))] for order in orders]):
        assert (result["text"], result["html"]) == (TEXT, html_of(TEXT))
