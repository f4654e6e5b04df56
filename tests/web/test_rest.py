"""Every route over real HTTP: who may, whose it is, from which page, how large, and what an error looks like."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute
from sqlalchemy import func, select
from starlette.routing import BaseRoute
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from app.core.config import settings
from app.core.db import transaction
from app.core.models import User
from app.services import accounts, estimate, logins, tokens
from app.web import deps, main
from app.web.security import BODY_BYTES, HEADERS
from app.wire.states import Door
from tests.support.nodes import PlayedNode
from tests.support.people import Member
from tests.support.website import Site

PUBLIC = {
    ("GET", "/login"): "the sign-in form",
    ("POST", "/api/login"): "signing in",
    ("POST", "/api/logout"): "ends whatever login there is",
    ("POST", "/api/sign-in/{provider}"): "where one signs in elsewhere",
    ("GET", "/sign-in/{provider}/callback"): "the way back from there; its state is the proof",
    ("GET", "/join"): "the sign-up form",
    ("POST", "/api/join"): "signing up, by invitation or where it is open",
    ("POST", "/api/invitations/look"): "what an invitation is for; its code is the proof",
    ("GET", "/health"): "for load balancers; says ok or away",
    ("GET", "/"): "leads to the sign-in form, or lets a guest in where guests are",
    ("GET", "/s/{session}"): "as /",
    ("GET", "/metrics"): "Prometheus on this machine needs no token",
}
"""What the anonymous may ask for, each with its reason; anything else has to refuse them."""


def flat(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if isinstance(route, APIRoute | APIWebSocketRoute):
            yield prefix + route.path, route
        elif inner is not None:
            yield from flat(inner.routes, prefix)


def http_routes() -> list[tuple[str, str]]:
    app = main.create()
    found = [
        (method, path)
        for path, route in flat(app.routes)
        if isinstance(route, APIRoute)
        for method in sorted(route.methods - {"HEAD"})
    ]
    assert ("GET", "/api/me") in found, "the routes are found another way now"
    return found


def filled(path: str) -> str:
    return re.sub(r"{\w+}", lambda _: str(uuid4()), path)


async def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"].endswith(".")
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(("method", "path"), http_routes())
async def test_the_anonymous_get_nothing(site: Site, method: str, path: str) -> None:
    async with site.browser() as browser:
        answer = await browser.request(method, filled(path), json={} if method != "GET" else None)
    if (method, path) in PUBLIC:
        assert answer.status_code not in (401, 500), answer.text
    else:
        await refused(answer, 401, "invalid_api_key" if path.startswith("/v1/") else "not_signed_in")


def test_what_is_public_exists() -> None:
    assert set(PUBLIC) <= set(http_routes())


@pytest.mark.parametrize(("method", "path"), http_routes())
async def test_every_answer_carries_the_headers(site: Site, method: str, path: str) -> None:
    async with site.browser() as browser:
        answer = await browser.request(method, filled(path))
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


async def test_static_files_carry_them_too_and_so_do_errors(site: Site) -> None:
    async with site.browser() as browser:
        for path in ("/static/main.js", "/static/none", "/none", "/api/none"):
            answer = await browser.get(path)
            assert HEADERS.items() <= dict(answer.headers).items(), path
        assert (await browser.get("/static/../main.py")).status_code == 404
        assert (await browser.get("/static/%2e%2e/main.py")).status_code == 404


OTHERS: list[tuple[str, str, Any]] = [
    ("GET", "/api/sessions/{session}", None),
    ("PATCH", "/api/sessions/{session}", {"title": "Mine"}),
    ("DELETE", "/api/sessions/{session}", None),
    ("POST", "/api/turns/{turn}/stop", None),
    ("GET", "/trace/{turn}", None),
    ("DELETE", "/api/tokens/{token}", None),
    ("DELETE", "/api/account/logins/{login}", None),
    ("GET", "/api/sessions/{session}/transcript", None),
    ("POST", "/api/sessions/{session}/close", None),
    ("POST", "/api/sessions/{session}/reopen", None),
    ("DELETE", "/api/archive/{session}", None),
]


def test_each_route_with_an_id_is_tried_on_others() -> None:
    # A provider is a place and a path one of Flower's pages: nothing that could be somebody else's.
    with_ids = {(method, path) for method, path in http_routes() if "{" in re.sub(r"{provider}|{path:path}", "", path)}
    # The last is for administrators, so that there is nobody it is another's for.
    nobodys = {("GET", "/s/{session}"), ("GET", "/v1/models/{model:path}"), ("DELETE", "/api/invitations/{invitation}")}
    assert with_ids - nobodys == {(method, path) for method, path, _ in OTHERS}


@pytest.mark.parametrize(("method", "path", "body"), OTHERS)
async def test_what_is_anothers_is_not_found(
    site: Site, ada: Member, bob: Member, method: str, path: str, body: Any
) -> None:
    session = ada.session()
    turn = ada.ask(session).turn
    own = {"session": session, "turn": turn, "login": logins.listed(ada.id)[0].id, "token": tokens.listed(ada.id)[0].id}
    async with site.browser(bob) as browser:
        for ids in (own, *(dict.fromkeys(own, one) for one in (str(uuid4()), "nonsense", "%00"))):
            address = re.sub(r"{(\w+)}", lambda found: ids[found[1]], path)  # noqa: B023 - used at once
            await refused(await browser.request(method, address, json=body), 404, "not_found")
    async with site.browser(ada) as browser:
        shown = (await browser.get(f"/api/sessions/{session}")).json()
    assert shown["turns"][0]["state"] == "queued"
    assert shown["title"] != "Mine"


async def test_lists_are_ones_own(site: Site, ada: Member, bob: Member) -> None:
    session = ada.session()
    async with site.browser(bob) as browser:
        assert (await browser.get("/api/sessions")).json() == {"sessions": [], "next": None}
    async with site.browser(ada) as browser:
        assert [one["id"] for one in (await browser.get("/api/sessions")).json()["sessions"]] == [session]


FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": ""},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_another_sites_page_changes_nothing(site: Site, ada: Member, headers: dict[str, str]) -> None:
    session = ada.session()
    async with site.browser(ada) as browser:
        del browser.headers["origin"]
        for method, path in (("POST", "/api/sessions"), ("DELETE", f"/api/sessions/{session}"), ("POST", "/api/logout")):
            await refused(await browser.request(method, path, headers=headers), 403, "not_allowed")
        assert (await browser.get("/api/me")).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN)
async def test_another_sites_page_opens_no_socket(site: Site, ada: Member, headers: dict[str, str]) -> None:
    cookie = {"Cookie": f"{deps.cookie_name()}={ada.login}"}
    with pytest.raises(InvalidStatus) as error:
        await connect(f"ws://127.0.0.1:{site.port}/ws/sessions/{ada.session()}", additional_headers=headers | cookie)
    assert error.value.response.status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "", "[::1].x", "[", "a b"])
async def test_a_foreign_name_for_this_machine_is_refused(site: Site, ada: Member, host: str) -> None:
    async with site.browser(ada) as browser:
        answer = await browser.get("/api/me", headers={"Host": host})
    assert answer.status_code == 400, answer.text
    assert "http" not in answer.headers.get("content-type", "")


async def test_two_names_are_none(site: Site) -> None:
    """What stands before us may have gone by the one, and we by the other."""
    for hosts in (("localhost", "evil.example"), ("evil.example", "localhost"), ("localhost", "localhost")):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        lines = ("GET /health HTTP/1.1", *(f"Host: {one}" for one in hosts), "Connection: close", "", "")
        writer.write("\r\n".join(lines).encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_no_name_is_none_of_ours_either(site: Site, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty MEATLIZARD_HOST listens everywhere; a name that cannot be read must not be taken for it."""
    monkeypatch.setenv("MEATLIZARD_HOST", "")
    settings.cache_clear()
    async with site.browser(ada) as browser:
        assert (await browser.get("/api/me", headers={"Host": "evil_one.example"})).status_code == 400


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}"])
async def test_the_names_of_this_machine_are_believed(site: Site, ada: Member, host: str) -> None:
    async with site.browser(ada) as browser:
        assert (await browser.get("/api/me", headers={"Host": host.format(port=site.port)})).status_code == 200


async def test_tls_makes_the_cookie_strict(site: Site, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEATLIZARD_PUBLIC_URL", "https://chat.example.org")
    settings.cache_clear()
    accounts.add("grace", "correct horse battery", "member", "test", Door.CLI)
    async with site.browser() as browser:
        headers = {"Host": "chat.example.org", "Origin": "https://chat.example.org"}
        answer = await browser.post(
            "/api/login", json={"name": "grace", "password": "correct horse battery"}, headers=headers
        )
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert answer.headers["strict-transport-security"]


@pytest.mark.parametrize("origin", ["http://chat.example.org", "ftp://chat.example.org", "https://chat.example.org:8443"])
async def test_a_page_of_our_name_without_tls_is_not_ours(
    site: Site, ada: Member, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    monkeypatch.setenv("MEATLIZARD_PUBLIC_URL", "https://chat.example.org")
    settings.cache_clear()
    async with site.browser() as browser:
        cookie = {"Cookie": f"{deps.cookie_name()}={ada.login}", "Host": "chat.example.org"}
        await refused(await browser.post("/api/sessions", headers=cookie | {"Origin": origin}), 403, "not_allowed")
        own = await browser.post("/api/sessions", headers=cookie | {"Origin": "https://chat.example.org"})
        assert own.status_code == 201


async def test_no_answer_leads_from_tls_to_none(site: Site, ada: Member) -> None:
    async with site.browser(ada) as browser:
        for path in ("/login/", "/account/", f"/s/{ada.session()}/", "/api/me/"):
            assert (await browser.get(path)).status_code == 404, path


@pytest.mark.parametrize("what", ["..%5C..%5Cmetrics", "x", "%3Ffind=a", "%22%3E%3Cb%3E"])
async def test_a_page_of_no_session_asks_for_nothing(site: Site, ada: Member, what: str) -> None:
    async with site.browser(ada) as browser:
        answer = await browser.get(f"/s/{what}", headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "data-session" not in answer.text


async def test_signing_in_and_out(site: Site, ada: Member) -> None:
    accounts.add("grace", "correct horse battery", "member", "test", Door.CLI)
    async with site.browser() as browser:
        wrong = await browser.post("/api/login", json={"name": "grace", "password": "x"})
        await refused(wrong, 401, "not_signed_in")
        answer = await browser.post("/api/login", json={"name": "Grace", "password": "correct horse battery"})
        assert answer.status_code == 204
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
        assert (await browser.get("/api/me")).json()["name"] == "grace"
        assert (await browser.post("/api/logout")).status_code == 204
        await refused(await browser.get("/api/me"), 401, "not_signed_in")


async def test_guests_are_let_in_at_the_machine_only(
    site: Site, servers: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEATLIZARD_GUESTS", "loopback")
    settings.cache_clear()
    for forwarded in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Port", "CF-Ray"):
        async with site.browser() as browser:
            answer = await browser.get("/", headers={forwarded: "10.0.0.9"})
            assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    async with site.browser() as browser:
        assert (await browser.get("/")).status_code == 200
        assert (await browser.get("/api/me")).json()["guest"]
        assert (await browser.get("/api/sessions")).json() == {"sessions": [], "next": None}
        for page in ("/account", "/archive", "/nodes"):
            assert (await browser.get(page)).status_code == 200, page
        assert "Delete everything" not in (await browser.get("/account")).text
        assert guests() == 0, "a look is nothing to keep"
        session = (await browser.post("/api/sessions")).json()["id"]
        me = (await browser.get("/api/me")).json()
        assert me["guest"]
        assert (await browser.post("/api/sessions")).status_code == 201
        assert (await browser.get("/api/me")).json()["id"] == me["id"]
        assert guests() == 1
        assert "Delete everything" in (await browser.get("/account")).text
    async with site.browser() as browser:
        await refused(await browser.get(f"/api/sessions/{session}"), 404, "not_found")
        await refused(await browser.patch(f"/api/sessions/{session}", json={"title": "x"}), 401, "not_signed_in")


@pytest.mark.parametrize(
    ("public", "host", "headers"),
    [
        ("https://chat.example.org", "chat.example.org", {}),
        ("https://chat.example.org", "localhost", {}),
        ("http://chat.example.org", "127.0.0.1", {}),
        ("", "127.0.0.1", {"Origin": "https://chat.example.org"}),
    ],
)
async def test_no_guest_and_no_figures_through_a_proxy_that_does_not_say_so(
    site: Site, servers: object, monkeypatch: pytest.MonkeyPatch, public: str, host: str, headers: dict[str, str]
) -> None:
    """nginx and HAProxy add nothing unless told to: all the world would be at the machine itself."""
    monkeypatch.setenv("MEATLIZARD_GUESTS", "loopback")
    monkeypatch.setenv("MEATLIZARD_PUBLIC_URL", public)
    settings.cache_clear()
    async with site.browser() as browser:
        del browser.headers["origin"]
        named = {"Host": f"{host}:{site.port}" if host != "chat.example.org" else host} | headers
        for path in ("/api/me", "/metrics"):
            await refused(await browser.get(path, headers=named), 401, "not_signed_in")
        assert (await browser.post("/api/sessions", headers=named)).status_code in (401, 403)
        assert "set-cookie" not in (await browser.get("/", headers=named)).headers


def guests() -> int:
    with transaction() as tx:
        return tx.scalar(select(func.count()).where(User.role == "guest")) or 0


async def test_a_token_opens_the_api_without_a_page(site: Site, ada: Member) -> None:
    async with httpx.AsyncClient(base_url=site.url, headers={"Authorization": f"Bearer {ada.token}"}) as program:
        assert (await program.post("/api/sessions", json={})).status_code == 201
    for bad in ("Bearer nonsense", "Bearer", f"Basic {ada.token}", ada.token, "Bearer \xff"):
        async with httpx.AsyncClient(base_url=site.url, headers={"Authorization": bad.encode("latin-1")}) as program:
            await refused(await program.get("/api/me"), 401, "not_signed_in")


async def test_a_token_that_is_wrong_is_not_saved_by_a_cookie_on_another_sites_page(site: Site, ada: Member) -> None:
    """An Authorization header frees from the check of the origin, so it has to be the proof itself."""
    headers = {"Origin": "https://evil.example", "Authorization": "Basic eDp4"}
    async with site.browser(ada) as browser:
        answer = await browser.post("/api/sessions", json={}, headers=headers)
    assert answer.status_code in (401, 403), answer.text


@pytest.mark.parametrize("size", [BODY_BYTES + 1, BODY_BYTES * 3])
async def test_a_body_too_large_is_refused_however_it_comes(site: Site, ada: Member, size: int) -> None:
    async def chunks() -> Any:
        for _ in range(0, size, 65_536):
            yield b" " * 65_536

    async with site.browser(ada) as browser:
        path = f"/api/sessions/{ada.session()}"
        for body in (b" " * size, chunks()):
            try:
                answer = await browser.patch(path, content=body, headers={"content-type": "application/json"})
            except httpx.WriteError:
                continue  # Refused and closed before all of it was sent.
            assert answer.status_code in (400, 413), answer.text
            assert "larger" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"title": null}',
        b'{"title": 7}',
        b'{"title": ""}',
        b'{"title": "  "}',
        b'{"title": "\\ud800"}',
        b'{"title": "\xff"}',
        b'{"title": "' + b"x" * 201 + b'"}',
        b"[" * 100_000,
    ],
)
async def test_a_body_of_another_shape_is_a_clear_error(site: Site, ada: Member, body: bytes) -> None:
    async with site.browser(ada) as browser:
        answer = await browser.patch(
            f"/api/sessions/{ada.session()}", content=body, headers={"content-type": "application/json"}
        )
        await refused(answer, 400, "bad_input")


@pytest.mark.parametrize("name", ["\0", "nul\0name", "\ud800", "x" * 65, ""])
async def test_a_name_that_nobody_has_is_refused_plainly(site: Site, servers: object, name: str) -> None:
    async with site.browser() as browser:
        body = json.dumps({"name": name, "password": "x"})
        answer = await browser.post("/api/login", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 401), answer.text


async def test_an_unknown_page_and_a_wrong_method_are_clear_errors(site: Site, ada: Member) -> None:
    async with site.browser(ada) as browser:
        await refused(await browser.get("/api/none"), 404, "not_found")
        answer = await browser.put("/api/sessions", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "bad_input")
        assert set(answer.headers["allow"].split(", ")) <= {"GET", "HEAD", "POST", "DELETE"}


async def test_an_accident_tells_nothing_of_the_inside(
    site: Site, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("SECRET of the inside")

    monkeypatch.setattr("app.services.session_list.page", fail)
    async with site.browser(ada) as browser:
        answer = await browser.get("/api/sessions")
    assert answer.headers["cache-control"] == "no-store"
    await refused(answer, 500, "error")
    assert "SECRET" not in answer.text
    assert HEADERS.items() <= dict(answer.headers).items()


async def test_health_and_state(site: Site, ada: Member, node: PlayedNode) -> None:
    async with site.browser() as browser:
        assert (await browser.get("/health")).json() == {"postgres": "ok", "redis": "ok"}
    async with site.browser(ada) as browser:
        state = (await browser.get("/api/state")).json()
    [shown] = state["nodes"]
    assert (shown["name"], shown["slots"], shown["busy"], shown["state"]) == ("home", 2, 0, "ready")
    assert "error" not in shown
    assert state["waiting"] == 0


async def test_a_page_that_is_loaded_knows_the_place_of_what_waits(site: Site, ada: Member, node: PlayedNode) -> None:
    estimate.remember("home", 8000)
    session = ada.session()
    waiting = [ada.ask(session).turn for _ in range(4)][2:]
    async with site.browser(ada) as browser:
        shown = (await browser.get(f"/api/sessions/{session}")).json()["turns"]
    found = {one["id"]: (one["position"], one["eta"]) for one in shown if one["state"] == "queued"}
    assert [found[turn][0] for turn in waiting] == [1, 2]
    assert all(0 < found[turn][1] <= 8 for turn in waiting)


def test_no_route_is_hidden_from_these_tests() -> None:
    app = main.create()
    sockets: list[Callable[..., Any]] = [
        route.endpoint for path, route in flat(app.routes) if isinstance(route, APIWebSocketRoute)
    ]
    assert len(sockets) == 1, "a socket has come: test/web/test_socket_refusals.py must know it"
