"""Accounts over HTTP: signing in anew each time, ending what is open elsewhere at once, and the panel of people."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import HTTPConnection
from websockets.asyncio.client import connect

from app.core import redis
from app.core.config import settings
from app.core.db import transaction
from app.services import accounts, limits, logins, tokens
from app.services.limits import Kind
from app.web import socket
from app.web.deps import address, cookie_name
from app.wire import names
from app.wire.states import Door, Verdict
from tests.support.nodes import PlayedNode
from tests.support.people import Member, member
from tests.support.website import Page, Site

PASSWORD = "correct horse battery"
SOON = 20.0
"""Seconds within which an end is heard by being told: whoever only looks, looks every sixty."""


def _revoke(who: Member) -> None:
    [token] = tokens.listed(who.id)
    tokens.revoke(token.id, "test", Door.CLI)


ENDS: dict[str, Callable[[Member], Any]] = {
    "signed out": lambda who: logins.end(who.login),
    "everywhere": lambda who: logins.end_everywhere(logins.person(who.login), Door.WEB),
    "password": lambda who: accounts.set_password(who.name, PASSWORD, "test", Door.CLI),
    "ban": lambda who: accounts.disable(who.name, "test", Door.CLI),
    "all": lambda who: logins.end_everybodys("test", Door.CLI),
}


@pytest.mark.parametrize("way", ENDS)
async def test_a_socket_that_only_listens_is_closed_mid_stream(
    site: Site, ada: Member, bob: Member, node: PlayedNode, way: str
) -> None:
    session, his = ada.session(), bob.session()
    async with site.page(ada, session) as page, site.page(bob, his) as other:
        turn = (await page.ask("Why is the sky blue?"))["turn"]
        writing = await node.take()
        await writing.begin()
        await writing.say("Because ")
        await page.hear("delta")
        await asyncio.to_thread(ENDS[way], ada)
        async with asyncio.timeout(SOON):
            assert await page.closed() == socket.SIGN_IN_AGAIN
        assert page.text(turn) == "Because "
        if way != "all":
            await other.send(type="ping")
            await other.hear("pong")


@pytest.mark.parametrize("way", ["ban", "revoked"])
async def test_a_programs_socket_is_closed_too(site: Site, ada: Member, way: str) -> None:
    headers = {"Authorization": f"Bearer {ada.token}"}
    async with connect(f"ws://127.0.0.1:{site.port}/ws/sessions/{ada.session()}", additional_headers=headers) as connection:
        page = Page(connection)
        await page.send(type="ping")
        await page.hear("pong")
        await asyncio.to_thread({"revoked": _revoke, **ENDS}[way], ada)
        async with asyncio.timeout(SOON):
            assert await page.closed() == socket.SIGN_IN_AGAIN


async def test_a_word_that_was_lost_is_made_up_for(site: Site, ada: Member, servers: Any) -> None:
    """The connection to Redis breaks while the end is told: whoever listens looks again when it is back."""
    async with site.page(ada, ada.session()) as page:
        await page.send(type="ping")
        await page.hear("pong")
        with transaction() as tx:
            logins.end_all(tx, accounts.UUID(ada.id))
        redis.client().delete(names.login(logins.digest(ada.login).hex()))
        servers.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert await page.closed() == socket.SIGN_IN_AGAIN


async def test_a_ban_stops_what_was_asked(site: Site, ada: Member, node: PlayedNode) -> None:
    async with site.page(ada, ada.session()) as page:
        await page.ask("Why?")
        writing = await node.take()
        await writing.begin()
        await asyncio.to_thread(accounts.disable, "ada", "test", Door.CLI)
        assert await writing.say("Because") == Verdict.STOP


async def test_signing_in_gives_a_new_cookie_and_ends_the_one_before(site: Site, bob: Member) -> None:
    """Whoever plants a login of theirs in somebody's browser is not let in by it later."""
    accounts.add("grace", PASSWORD, "member", "test", Door.CLI)
    async with site.browser(bob) as browser:
        browser.cookies.clear()
        browser.cookies.set(cookie_name(), bob.login, domain="127.0.0.1")
        assert (await browser.post("/api/login", json={"name": "grace", "password": PASSWORD})).status_code == 204
        fresh = browser.cookies.get(cookie_name(), domain="127.0.0.1", path="/")
        assert fresh not in (bob.login, None)
        browser.cookies.clear()
        answer = await browser.get("/api/me", headers={"cookie": f"{cookie_name()}={bob.login}"})
        assert answer.status_code == 401
        answer = await browser.get("/api/me", headers={"cookie": f"{cookie_name()}={fresh}"})
        assert answer.json()["name"] == "grace"


@pytest.mark.parametrize("before", [b"\xa0", b"\x85", b"\x1c"])
async def test_a_neighbours_site_plants_no_login(site: Site, bob: Member, before: bytes) -> None:
    """Browsers hold these for a part of a name, which is then not `__Host-…` yet, so that a page of a sister site may set it."""
    async with site.browser() as browser:
        planted = before + f"{cookie_name()}={bob.login}".encode()
        answer = await browser.get("/api/me", headers={b"cookie": planted})
        assert answer.status_code in (400, 401)


async def test_logins_are_listed_and_ended_by_their_owner(site: Site, ada: Member) -> None:
    with transaction() as tx:
        other = logins.begin(tx, accounts.UUID(ada.id), "password", "Mozilla/5.0 (X11; Linux) Firefox/140", "10.0.0.7")
    async with site.browser(ada) as browser:
        rows = (await browser.get("/api/account/logins")).json()["logins"]
        assert sorted((row["device"], row["address"], row["here"]) for row in rows) == [
            ("Firefox on Linux", "10.0.0.7", False),
            ("tests", "127.0.0.1", True),
        ]
        page = (await browser.get("/account", headers={"accept": "text/html"})).text
        assert "Firefox on Linux" in page
        assert other not in page
        [there] = [row["id"] for row in rows if not row["here"]]
        assert (await browser.delete(f"/api/account/logins/{there}")).status_code == 204
        assert (await browser.get("/api/me", headers={"cookie": f"{cookie_name()}={other}"})).status_code == 401
        assert (await browser.get("/api/me")).status_code == 200
        assert (await browser.delete("/api/account/logins")).status_code == 204
        assert (await browser.get("/api/me")).status_code == 401


async def test_changing_the_password_leaves_one_in_here_only(site: Site, servers: object) -> None:
    accounts.add("grace", PASSWORD, "member", "test", Door.CLI)
    async with site.browser() as here, site.browser() as there:
        for browser in (here, there):
            await browser.post("/api/login", json={"name": "grace", "password": PASSWORD})
        wrong = await here.post("/api/account/password", json={"old": "x", "new": "another good one"})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (403, "not_allowed")
        changed = await here.post("/api/account/password", json={"old": PASSWORD, "new": "another good one"})
        assert changed.status_code == 204
        assert (await here.get("/api/me")).json()["name"] == "grace"
        assert (await there.get("/api/me")).status_code == 401


async def test_too_many_tries_say_when_to_come_back(
    site: Site, servers: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts.passwords, "verify", lambda *_: False)
    async with site.browser() as browser:
        for _ in range(limits.DEFAULTS[limits.NAME][Kind.TRIES] or 0):
            assert (await browser.post("/api/login", json={"name": "grace", "password": "x"})).status_code == 401
        answer = await browser.post("/api/login", json={"name": "grace", "password": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_often")
    assert 0 < int(answer.headers["retry-after"]) <= 300


async def test_an_invitation_from_the_panel_to_the_account(site: Site, servers: object) -> None:
    async with site.browser(member("olga", "owner")) as owner, site.browser() as newcomer:
        answer = await owner.post("/api/invitations", json={"role": "admin", "days": 3, "note": "for Grace"})
        link, _, code = answer.json()["secret"].partition("#")
        assert link == f"{site.url}/join"
        assert (await newcomer.get("/join")).status_code == 200
        looked = (await newcomer.post("/api/invitations/look", json={"invitation": code})).json()
        assert (looked["role"], looked["made_by"]) == ("admin", "olga")
        body = {"invitation": code, "name": "grace", "password": PASSWORD}
        assert (await newcomer.post("/api/join", json=body)).status_code == 204
        assert (await newcomer.get("/api/me")).json()["role"] == "admin"
        assert (await newcomer.post("/api/join", json=body | {"name": "eve"})).status_code == 404
        page = (await owner.get("/people", headers={"accept": "text/html"})).text
        assert "used by grace" in page
        assert code not in page


async def test_the_panel_changes_roles_and_shuts_out(site: Site, ada: Member) -> None:
    async with site.browser(member("olga", "owner")) as owner, site.browser(ada) as hers:
        await owner.post("/api/people/role", json={"name": "ada", "role": "admin"})
        assert (await hers.get("/api/me")).json()["role"] == "admin"
        refused = await hers.post("/api/people/disable", json={"name": "olga"})
        assert refused.status_code == 403
        await owner.post("/api/people/disable", json={"name": "ada"})
        assert (await hers.get("/api/me")).status_code == 401
        assert (await owner.post("/api/people/enable", json={"name": "ada"})).status_code == 204
        assert (await owner.post("/api/people/enable", json={"name": "nobody"})).status_code == 404


async def test_a_guest_signs_up_and_keeps_their_sessions(
    site: Site, servers: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEATLIZARD_GUESTS", "loopback")
    monkeypatch.setenv("MEATLIZARD_SIGN_UP", "open")
    settings.cache_clear()
    async with site.browser() as browser:
        session = (await browser.post("/api/sessions")).json()["id"]
        assert (await browser.post("/api/join", json={"name": "grace", "password": PASSWORD})).status_code == 204
        assert (await browser.get("/api/me")).json()["role"] == "member"
        assert [one["id"] for one in (await browser.get("/api/sessions")).json()["sessions"]] == [session]


@pytest.mark.parametrize(
    ("proxies", "said", "found"),
    [
        ("", "10.0.0.9", "127.0.0.1"),
        ("127.0.0.1", "10.0.0.9", "10.0.0.9"),
        ("127.0.0.1", "1.2.3.4, 10.0.0.9", "10.0.0.9"),
        ("127.0.0.1, 10.0.0.9", "1.2.3.4, 10.0.0.9", "1.2.3.4"),
        ("127.0.0.1", "1.2.3.4\n10.0.0.9", "10.0.0.9"),
    ],
)
def test_only_our_own_proxies_are_believed(monkeypatch: pytest.MonkeyPatch, servers: object, proxies: str, said: str, found: str) -> None:
    monkeypatch.setenv("MEATLIZARD_PROXIES", proxies)
    settings.cache_clear()
    scope = {"type": "http", "client": ("127.0.0.1", 1), "headers": [(b"x-forwarded-for", line.encode()) for line in said.split("\n")]}
    assert address(HTTPConnection(scope)) == found
