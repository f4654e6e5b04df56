"""The real page in a real browser, answered by the real model: asked, reloaded, watched twice, stopped."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.conftest import NAMES, QUIET
from tests.support.reader import Reader
from tests.support.stack import Stack
from tests.support.waiting import until

PATIENCE = 240_000
"""Milliseconds for a reply of the real model on a slow machine that is busy with other tests."""
LONG = "Write a long story about a lizard who keeps a lighthouse."
LAST = ".assistant:last-child"


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        path = next(filter(None, map(shutil.which, NAMES)), None)
        expect.set_options(timeout=PATIENCE)
        browser = await playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    context = await chromium.new_context()
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    # "Failed to load" is what the browser says of every refusal, the ones that a test is about among them.
    page.on("console", lambda one: complaints.append(one.text) if one.type == "error" and "Failed to" not in one.text else None)
    yield page
    assert not complaints


async def ask(page: Page, words: str) -> None:
    await page.locator("#box").fill(words)
    await page.locator("#box").press("Enter")


async def reply(page: Page) -> str:
    return await page.locator(f"{LAST} .content").inner_text()


async def ended(page: Page, state: str = "done") -> str:
    await expect(page.locator(LAST)).to_have_attribute("data-state", state, timeout=PATIENCE)
    return await reply(page)


async def test_a_guest_asks_and_is_answered(stack: Stack, page: Page) -> None:
    await page.goto(stack.status()["url"])
    await ask(page, "Say hello.")
    assert (await ended(page)).strip()
    await expect(page).to_have_url(re.compile(r"/s/[0-9a-f-]{36}$"))


@pytest.mark.timeout(600)
async def test_reload_and_a_second_tab_in_the_middle_of_a_reply(stack: Stack, page: Page) -> None:
    await page.goto(stack.status()["url"])
    await ask(page, LONG)
    await expect(page.locator(f"{LAST} .content")).to_contain_text(re.compile(r"\w+ \w+ \w+"), timeout=PATIENCE)
    await page.reload()
    second = await page.context.new_page()
    await second.goto(page.url)
    first_text, second_text = await ended(page), await ended(second)
    assert first_text == second_text
    # And what both show is what is kept.
    await page.reload()
    await expect(page.locator(f"{LAST} .content")).to_have_text(first_text, use_inner_text=True)


async def test_stop_frees_the_slot_and_keeps_the_text(stack: Stack, page: Page) -> None:
    await page.goto(stack.status()["url"])
    await ask(page, LONG)
    await expect(page.locator(f"{LAST} .content")).to_contain_text(re.compile(r"\w+ \w+ \w+"), timeout=PATIENCE)
    await page.locator("#box").press("Escape")
    kept = await ended(page, "cancelled")
    assert kept.strip()
    await page.reload()
    await expect(page.locator(f"{LAST} .content")).to_have_text(kept, use_inner_text=True)
    await asyncio.to_thread(until, lambda: stack.status()["nodes"][0]["busy"] == 0)


async def test_somebody_else_cannot_look(stack: Stack, page: Page) -> None:
    reader = await Reader(stack.status()["url"], stack.token()).ask("Say hello.", {"max_tokens": 8})
    await page.goto(f"{stack.status()['url']}/s/{reader.session}")
    await expect(page.locator("body")).to_contain_text(re.compile("not here|not yours|no such", re.IGNORECASE))
    assert await page.locator(".assistant").count() == 0
