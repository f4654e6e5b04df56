"""People's own pages in Chromium: an invitation, signing in with a password or elsewhere, logins, tokens, limits."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from app.core.config import settings
from app.services import accounts, logins, tokens
from app.web.deps import cookie_name
from app.wire.errors import NotSignedIn
from app.wire.states import Door
from bots.sandbox.clock import Clock
from bots.sandbox.config import Config
from bots.sandbox.server import serving
from tests.browser.conftest import NAMES, QUIET
from tests.support import linking
from tests.support.oidc import oidc_provider
from tests.support.people import Member, member
from tests.support.website import Site

PATIENCE = 90_000
"""Milliseconds, on a machine that is busy with other tests."""
PASSWORD = "correct horse battery"
EXPECTED = "Failed to load resource"
"""What the browser says of every refusal, the ones that a test is about among them."""


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        await browser.close()


Entered = Callable[..., Any]


@pytest.fixture
async def enter(chromium: Browser, site: Site) -> AsyncIterator[Entered]:
    """Open a browser of its own, signed in as somebody or as nobody; whatever its pages complain of fails the test."""
    complaints: list[str] = []
    expect.set_options(timeout=PATIENCE)

    async def enter(who: Member | None = None, path: str = "/") -> Page:
        context: BrowserContext = await chromium.new_context(locale="en-GB")
        context.set_default_timeout(PATIENCE)
        if who:
            await context.add_cookies([{"name": cookie_name(), "value": who.login, "url": site.url}])
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda one: complaints.append(one.text) if one.type == "error" and EXPECTED not in one.text else None)
        await page.goto(site.url + path)
        return page

    yield enter
    assert not complaints


async def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def test_an_invitation_that_was_broken_on_the_way_says_so(site: Site, servers: object, enter: Entered) -> None:
    page: Page = await enter(None, "/join#%E0%A4%A")
    await expect(page.get_by_text("This invitation cannot be used")).to_be_visible()


async def test_from_an_invitation_to_the_account_and_in_again(site: Site, servers: object, enter: Entered) -> None:
    host: Page = await enter(await asyncio.to_thread(member, "olga", "owner"), "/people")
    await host.get_by_label("For whom").fill("Grace")
    await host.get_by_role("button", name="Make a link").click()
    link = await host.locator("#link code").inner_text()

    page: Page = await enter(None, link.removeprefix(site.url))
    await expect(page.locator("#invited")).to_have_text("olga invites you.")
    await page.get_by_label("Name").fill("Grace")
    await page.get_by_label("Password").fill("short")
    await page.get_by_role("button", name="Make it").click()
    await expect(page.locator("#password-error")).to_have_text("10 characters at least.")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Make it").click()
    await expect(page).to_have_url(f"{site.url}/")

    await page.goto(f"{site.url}/account")
    await expect(page.locator(".facts").first).to_contain_text("grace")
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await expect(page).to_have_url(re.compile("/login$"))

    await page.goto(f"{site.url}/archive")
    await expect(page).to_have_url(re.compile(r"/login\?next=%2Farchive$"))
    await sign_in(page, "grace", "not this one")
    await expect(page.locator("#login-error")).to_contain_text("do not fit")
    await sign_in(page, "grace")
    await expect(page).to_have_url(f"{site.url}/archive")

    used: Page = await enter(None, link.removeprefix(site.url))
    await expect(used.locator("#invited")).to_contain_text("invitation")
    await expect(used.locator("#join")).to_be_hidden()


ELSEWHERE = ("//evil.example/x", "/.//evil.example/x", "/%2e//evil.example/x", "/\\evil.example", "https://evil.example")


async def test_no_link_leads_elsewhere_after_the_password(site: Site, ada: Member, enter: Entered) -> None:
    """Whoever is signed in already is passed on at once, and must not be either."""
    page: Page = await enter(ada, "/health")
    for elsewhere in ELSEWHERE:
        await page.goto(f"{site.url}/login?next={elsewhere}")
        await expect(page).not_to_have_url(re.compile(r"/login\?next"))
        assert page.url.startswith(f"{site.url}/"), page.url


async def test_another_browser_is_signed_out_from_the_account(site: Site, ada: Member, enter: Entered) -> None:
    await asyncio.to_thread(accounts.set_password, "ada", PASSWORD, "test", Door.CLI)
    here: Page = await enter(None, "/login?next=/account")
    await sign_in(here, "ada")
    await expect(here.locator("tbody tr")).to_have_count(1)
    session = await asyncio.to_thread(ada.session)
    there: Page = await enter(None, f"/login?next=/s/{session}")
    await sign_in(there, "ada")
    await expect(there).to_have_url(f"{site.url}/s/{session}")

    await here.reload()
    await expect(here.locator("tbody tr")).to_have_count(2)
    await expect(here.locator("tbody")).to_contain_text("Chrome on Linux")
    await here.get_by_role("button", name="Sign out Chrome on Linux").click()
    await expect(here.locator("#toast")).to_have_text("That browser is signed out.")
    await expect(there).to_have_url(re.compile("/login"), timeout=PATIENCE)
    await expect(here.locator("tbody tr")).to_have_count(1)


async def test_a_token_is_shown_once_and_revoked(site: Site, ada: Member, enter: Entered) -> None:
    await asyncio.to_thread(lambda: [tokens.revoke(one.id, "test", Door.CLI) for one in tokens.listed(ada.id)])
    page: Page = await enter(ada, "/tokens")
    await page.get_by_label("What it is for").fill("Open WebUI")
    await page.get_by_role("button", name="Make the token").click()
    secret = await page.locator("#shown-once code").inner_text()
    assert (await asyncio.to_thread(tokens.holder, secret)).name == "ada"
    await page.reload()
    await expect(page.locator("tbody")).to_contain_text("Open WebUI")
    assert secret not in await page.content()
    await page.get_by_role("button", name="Revoke").click()
    await page.locator("#ask-yes").click()
    await expect(page.get_by_text("There are none yet.")).to_be_visible()
    with pytest.raises(NotSignedIn):
        await asyncio.to_thread(tokens.holder, secret)


async def test_the_page_that_shows_a_code_notices_the_link(
    site: Site, ada: Member, enter: Entered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEATLIZARD_DISCORD_TOKEN", "t")
    monkeypatch.setenv("MEATLIZARD_DISCORD_GUILD", "1")
    settings.cache_clear()
    page: Page = await enter(ada, "/discord")
    await page.get_by_role("button", name="Show a code").click()
    code = await page.locator("#link-code code").inner_text()
    async with page.expect_response(f"{site.url}/discord"):
        pass  # It looked, there was nothing yet, and what is to be typed in Discord still stands there.
    await expect(page.locator("#link-code code")).to_have_text(code)
    await asyncio.to_thread(linking.claim, code, 4711, "Ada L.")
    await expect(page.get_by_role("heading", name="Linked")).to_be_visible()
    await expect(page.locator("#toast")).to_have_text("Linked.")


async def test_an_administrator_changes_a_limit_and_its_owner_sees_it(site: Site, ada: Member, enter: Entered) -> None:
    page: Page = await enter(await asyncio.to_thread(member, "olga", "owner"), "/admin/limits")
    form = page.locator("form[data-send^=PUT]")
    await form.get_by_label("Whose").fill("ada")
    await form.get_by_label("How many").fill("7")
    await form.get_by_role("button").click()
    await expect(page.locator("#toast")).to_have_text("The limit is changed.")
    await expect(page.locator("tr", has_text="ada")).to_contain_text("7 set")
    hers: Page = await enter(ada, "/account")
    await expect(hers.locator(".tile").first).to_contain_text("of 7")


async def test_discord_and_single_sign_on_lead_in(
    site: Site, ada: Member, enter: Entered, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Config(limits="off"), Clock()) as sandbox:
        application = next(one for one in sandbox.world.store.applications.values() if one.name == "Server-Bot")
        with oidc_provider(("4711", "Grace")) as issuer:
            found = {"api": sandbox.api, "guild": sandbox.guild, "client_id": application.id, "client_secret": application.secret}
            for name, value in found.items():
                monkeypatch.setenv(f"MEATLIZARD_DISCORD_{name.upper()}", str(value))
            for name, value in {"issuer": issuer, "client_id": "us", "client_secret": "s", "people": "anyone"}.items():
                monkeypatch.setenv(f"MEATLIZARD_OIDC_{name.upper()}", value)
            settings.cache_clear()

            page: Page = await enter(None, "/login?next=/account")
            await page.get_by_role("button", name="Go on with Discord").click()
            await page.get_by_label("Sign in as").select_option(label="ada")
            await page.get_by_role("button", name="Authorize").click()
            await expect(page).to_have_url(f"{site.url}/account")
            await expect(page.locator("tbody")).to_contain_text("discord")

            page = await enter(None, "/login?next=/account")
            await page.get_by_role("button", name="Go on with single sign-on").click()
            await page.locator("input[name=sub]").fill("4711")
            await page.locator("button, input[type=submit]").first.click()
            await expect(page).to_have_url(f"{site.url}/account")
            await expect(page.locator(".facts").first).to_contain_text("grace")
            assert len(await asyncio.to_thread(logins.listed, ada.id)) == 1, "nobody came in as somebody else"
