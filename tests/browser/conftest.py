"""A real Chromium, and the stage it looks at; whatever a page complains of fails its test."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from tests.browser.stage import Stage
from tests.support.waiting import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]
QUIET += ["--disable-sync"]
# What the browser itself says when a server is away, as it is on purpose here.
EXPECTED = ("WebSocket connection to", "Failed to load resource", "net::ERR_")

MILLISECONDS = 1000 * PATIENCE
"""Within which a page shows what is waited for."""

Opener = Callable[..., Awaitable[Page]]

HERE = Path(__file__).parent
# One browser serves all tests, so all of them share its loop.
fixture = pytest_asyncio.fixture(loop_scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run this folder's tests on the loop that the browser lives on."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium from PATH, else Playwright's own."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    async with async_playwright() as playwright:
        own = playwright.chromium.executable_path
        if not path and not await asyncio.to_thread(Path(own).exists):
            pytest.fail("No Chromium: run `make setup`, or install one (Debian: apt install chromium).")
        expect.set_options(timeout=MILLISECONDS)
        browser = await playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        await browser.close()


@fixture
async def stage() -> AsyncIterator[Stage]:
    """The scripted server."""
    stage = await Stage().start()
    yield stage
    await stage.stop()


@fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """One browser profile: its pages share what the browser keeps."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(MILLISECONDS)
    yield context
    await context.close()


@fixture
async def watched() -> AsyncIterator[Callable[[Page], Page]]:
    """Watch a page for errors and refused content; the test fails at its end if there were any."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(word in message.text for word in EXPECTED):
            complaints.append(message.text)

    def watch(page: Page) -> Page:
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield watch
    assert not complaints


@pytest.fixture
def open_page(stage: Stage, context: BrowserContext, watched: Callable[[Page], Page]) -> Opener:
    """Open a page of the stage, in a tab of its own."""

    async def open_page(path: str = "/") -> Page:
        page = watched(await context.new_page())
        await page.goto(stage.url + path)
        return page

    return open_page
