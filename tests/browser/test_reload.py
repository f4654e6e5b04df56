"""What a page shows of tries that came to nothing, when it is loaded anew."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Opener
from tests.browser.stage import Json, Stage

PROMPT, REPLY, NEXT, LATE = (f"0000000{number}-0000-7000-8000-000000000000" for number in (1, 2, 3, 9))


def failed(turn: str, reason: str = "No node answered.") -> Json:
    return {"id": turn, "message": PROMPT, "state": "failed", "attempt": 3, "reason": reason}


def answered(stage: Stage, *turns: Json, gone_on: bool = False) -> str:
    """A session whose first prompt has a reply; maybe with another prompt below that."""
    messages: list[Json] = [
        {"id": PROMPT, "role": "user", "text": "Why?"},
        {"id": REPLY, "role": "assistant", "text": "Because.", "turn": REPLY, "state": "done"},
    ]
    if gone_on:
        messages.append({"id": NEXT, "role": "user", "text": "And then?"})
    return stage.session("Tries", *messages, turns=list(turns))


async def test_a_failed_regenerate_is_shown_as_the_newest_version(stage: Stage, open_page: Opener) -> None:
    page = await open_page(f"/s/{answered(stage, failed(LATE))}")
    await expect(page.locator(".assistant .failure")).to_contain_text("No node answered.")
    await expect(page.locator(".assistant .place")).to_have_text("2/2")
    await page.get_by_role("button", name="Previous version").click()
    await expect(page.locator(".assistant .content")).to_have_text("Because.")
    await page.get_by_role("button", name="Next version").click()
    await page.get_by_role("button", name="Retry").click()
    assert (await stage.said("retry"))["turn"] == LATE


async def test_a_failure_is_history_once_one_has_gone_on(stage: Stage, open_page: Opener) -> None:
    early = "00000002-9999-7000-8000-000000000000"
    page = await open_page(f"/s/{answered(stage, failed(early), gone_on=True)}")
    await expect(page.locator(".message")).to_have_count(3)
    await expect(page.locator(".failure:visible")).to_have_count(0)


@pytest.mark.parametrize("order", [1, -1])
async def test_of_several_failures_the_last_is_shown(stage: Stage, open_page: Opener, order: int) -> None:
    tries = [failed(f"0000000{number}-1000-7000-8000-000000000000", f"Try {number}.") for number in (4, 5)]
    session = stage.session("Tries", {"id": PROMPT, "role": "user", "text": "Why?"}, turns=tries[::order])
    page = await open_page(f"/s/{session}")
    await expect(page.locator(".assistant")).to_have_count(1)
    await expect(page.locator(".assistant .failure")).to_contain_text("Try 5.")
