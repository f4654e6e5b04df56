"""Known attacks through the real page in Chromium, as prompt, reply, title and names: none runs, none calls out."""

import asyncio
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from app.services import accounts, sessions, tokens
from app.wire import names
from app.wire.states import Door
from tests.browser.conftest import NAMES, QUIET
from tests.support.nodes import PlayedNode, finish, jobs, ready
from tests.support.people import Member, member
from tests.support.website import Site
from tests.web.xss_corpus import VECTORS

PATIENCE = 90_000
"""Milliseconds, on a machine that is busy with other tests."""
LINKS = "[...document.querySelectorAll('[href],[src],[action],[data]')].map(one => one.href?.baseVal ?? one.href ?? one.src)"
HANDLERS = (
    "[...document.querySelectorAll('*')].flatMap(one => [...one.attributes]).filter(one => /^on/i.test(one.name)).length"
)


class Watched:
    """A page that tells what ran in it and what it asked of whom."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.ran: list[str] = []
        self.asked: list[str] = []

    async def open(self, site: Site, path: str) -> None:
        await self.page.goto(site.url + path)

    async def settled(self) -> None:
        """Return when what was put into the page has had its turn: images have failed, timers have run."""
        await self.page.wait_for_load_state("networkidle")
        await self.page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    async def unharmed(self, site: Site) -> None:
        await self.settled()
        assert self.ran == []
        assert [url for url in self.asked if not url.startswith((site.url, "data:", "ws:"))] == []
        for link in await self.page.evaluate(LINKS):
            assert not str(link).lower().strip().startswith(("javascript:", "vbscript:", "data:text")), link
        assert await self.page.evaluate(HANDLERS) == 0
        assert await self.page.locator("script:not([src]), iframe, object, embed, base").count() == 0


@pytest.fixture
async def watched(site: Site, ada: Member) -> AsyncIterator[Watched]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=QUIET)
        context = await browser.new_context(viewport={"width": 1000, "height": 700})
        context.set_default_timeout(PATIENCE)
        found = Watched(await context.new_page())
        await found.page.expose_binding("pwned", lambda *_: found.ran.append("pwned"))

        async def dialog(box: object) -> None:
            found.ran.append("dialog")
            await box.dismiss()  # type: ignore[attr-defined]

        found.page.on("dialog", dialog)
        found.page.on("request", lambda request: found.asked.append(request.url))
        await sign_in(found, site, ada)
        yield found
        await browser.close()


async def sign_in(watched: Watched, site: Site, who: Member) -> None:
    async with site.browser(who) as browser:
        cookies = [{"name": name, "value": value, "url": site.url} for name, value in browser.cookies.items()]
    await watched.page.context.clear_cookies()
    await watched.page.context.add_cookies(cookies)  # type: ignore[arg-type]


def talk(who: Member) -> str:
    """A conversation in which every vector is said by both sides."""
    session, parent = who.session(), None
    for vector in VECTORS:
        turn = who.ask(session, vector, parent)
        [job] = jobs()
        assert finish(job, vector)
        parent = next(one["id"] for one in sessions.show(session, who.id).messages if one.get("turn") == turn.turn)
    return session


async def test_none_runs_as_prompt_or_reply(site: Site, ada: Member, node: PlayedNode, watched: Watched) -> None:
    session = await asyncio.to_thread(talk, ada)
    await watched.open(site, f"/s/{session}")
    await watched.page.locator(".assistant").nth(len(VECTORS) - 1).wait_for()
    await watched.unharmed(site)
    # The watching works: what is allowed to run is seen.
    await watched.page.evaluate("pwned()")
    assert watched.ran == ["pwned"]


async def test_none_runs_while_it_is_written(site: Site, ada: Member, node: PlayedNode, watched: Watched) -> None:
    session = await asyncio.to_thread(ada.session)
    await watched.open(site, f"/s/{session}")
    await watched.page.locator("#box").fill("\n\n".join(VECTORS[:20]))
    await watched.page.locator("#box").press("Enter")
    writing = await node.take()
    await writing.begin()
    for vector in VECTORS:
        await writing.say(vector[: len(vector) // 2], vector[len(vector) // 2 :], "\n\n")
    await watched.unharmed(site)
    assert await writing.end()
    await watched.page.locator(".assistant").first.wait_for()
    await watched.unharmed(site)


async def test_none_runs_as_a_title_or_a_name(site: Site, ada: Member, node: PlayedNode, watched: Watched) -> None:
    def name_all() -> Member:
        for vector in VECTORS:
            if vector.strip():
                sessions.rename(ada.session(), ada.id, vector[:80])
        # The last one is the one that every page shows.
        return member("<img src=x onerror=pwned()>")

    bad = await asyncio.to_thread(name_all)
    await asyncio.to_thread(ready, "home", 2, model="<svg onload=pwned()>", error="<img src=x onerror=pwned()>")
    await watched.open(site, "/")
    await watched.unharmed(site)
    assert not ready_refuses("<img src=x onerror=pwned()>")
    await asyncio.to_thread(accounts.set_role, bad.name, "admin", "test", Door.CLI)
    await asyncio.to_thread(tokens.new, bad.name, VECTORS[5], tokens.DEFAULT, None, "test", Door.CLI)
    await sign_in(watched, site, bad)
    from app.web.panels import PANELS

    for path in ("/", *(panel.path for panel in PANELS)):
        await watched.open(site, path)
        await watched.unharmed(site)


def ready_refuses(name: str) -> bool:
    """Say whether a node may be called so: its name is part of queues, keys and files."""
    return bool(names.NODE_NAME.fullmatch(name))


async def test_the_policy_stops_what_the_sanitiser_would_let_through(
    site: Site, ada: Member, watched: Watched
) -> None:
    """The second wall, tried alone: markup put into the page as if nobody had cleaned it."""
    await watched.open(site, "/account")
    refused = await watched.page.evaluate(
        """() => new Promise(done => {
            document.addEventListener('securitypolicyviolation', one => done(one.effectiveDirective));
            const box = document.createElement('div');
            try { box.innerHTML = '<img src=x onerror=pwned()>'; } catch (error) { done(error.name); }
            document.body.append(box);
        })"""
    )
    assert refused in ("TypeError", "require-trusted-types-for", "script-src-attr")
    assert watched.ran == []
