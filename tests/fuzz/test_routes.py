"""Schemathesis against the OpenAPI document: every route, as guest, member and admin; no 5xx, no undeclared answer.

Short here; `MEATLIZARD_FUZZ_EXAMPLES=500 pytest tests/fuzz/test_routes.py` tries for longer.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.services import accounts, tokens
from app.web import main, openapi
from app.web.deps import cookie_name
from app.wire.states import Door
from tests.support.nodes import PlayedNode
from tests.support.people import Member
from tests.support.website import Site

EXAMPLES = int(os.environ.get("MEATLIZARD_FUZZ_EXAMPLES", "5"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
LEAVES = {
    ("POST", "/api/logout"): "it would end the login that all else is tried with",
    ("DELETE", "/api/me"): "it would end the account that all else is tried with",
    ("DELETE", "/api/account/logins"): "as logging out",
}
QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]


@pytest.fixture
async def answering(node: PlayedNode) -> AsyncIterator[PlayedNode]:
    """A node that answers whatever it is asked."""

    async def answer() -> None:
        while True:
            with contextlib.suppress(AssertionError, Exception):
                await node.answer("Yes.")

    task = asyncio.create_task(answer())
    yield node
    task.cancel()


def credentials(role: str, ada: Member) -> dict[str, str]:
    if role == "guest":
        login = accounts.enter_as_guest("tests", "127.0.0.1")
        return {"Cookie": f"{cookie_name()}={login}"}
    if role == "admin":
        accounts.set_role("ada", "admin", "test", Door.CLI)
    return {"Authorization": f"Bearer {tokens.new('ada', '', ('admin',), None, 'test', Door.CLI)}"}


def attack(url: str, headers: dict[str, str]) -> set[tuple[str, int]]:
    """Try every operation, then walks over several; return what was answered where."""
    schema = schemathesis.openapi.from_dict(openapi.document(main.create()))
    seen: set[tuple[str, int]] = set()
    short = hypothesis_settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=QUIET)
    for found in schema.get_all_operations():
        operation = found.ok()
        if (operation.method.upper(), operation.path) in LEAVES:
            continue

        @short
        @given(case=operation.as_strategy())
        def one(case: Any) -> None:
            answer = case.call(base_url=url, headers=headers)
            case.validate_response(answer, checks=CHECKS)
            seen.add((f"{case.method} {case.path}", answer.status_code))

        one()
    return seen


@pytest.mark.parametrize("role", ["guest", "member", "admin"])
async def test_no_accident_and_no_undeclared_answer(site: Site, ada: Member, answering: PlayedNode, role: str) -> None:
    seen = await asyncio.to_thread(attack, site.url, credentials(role, ada))
    statuses = {status for _, status in seen}
    assert 200 in statuses
    assert statuses & {400, 404}, "nothing was refused: this tried nothing"
    assert not any(status >= 500 for status in statuses)


async def test_walks_over_several_routes(site: Site, ada: Member, answering: PlayedNode) -> None:
    headers = credentials("admin", ada)
    schema = schemathesis.openapi.from_dict(openapi.document(main.create()))
    machine = schema.as_state_machine()

    class Walk(machine):  # type: ignore[misc,valid-type]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"base_url": site.url, "headers": headers}

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    walk = hypothesis_settings(
        max_examples=EXAMPLES, stateful_step_count=8, deadline=None, database=None, suppress_health_check=QUIET
    )
    await asyncio.to_thread(lambda: Walk.run(settings=walk))


async def test_the_document_is_for_those_who_are_signed_in(site: Site, ada: Member) -> None:
    async with site.browser() as browser:
        assert (await browser.get("/api/openapi.json")).status_code == 401
    async with site.browser(ada) as browser:
        found = (await browser.get("/api/openapi.json")).json()
    assert found == openapi.document(main.create())
    assert {"token", "login"} == set(found["components"]["securitySchemes"])


async def test_another_site_gets_in_only_where_the_settings_name_it(
    site: Site, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.core.config import settings

    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    async with httpx.AsyncClient(base_url=site.url) as page:
        answer = await page.options("/v1/chat/completions", headers=preflight)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        monkeypatch.setenv("MEATLIZARD_CORS_ORIGINS", "https://other.example, https://app.example/")
        settings.cache_clear()
        answer = await page.options("/v1/chat/completions", headers=preflight)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-credentials" not in answer.headers
        headers = {"Origin": "https://app.example", "Authorization": f"Bearer {ada.token}"}
        assert (await page.get("/v1/models", headers=headers)).headers["access-control-allow-origin"]
        for origin, path in (("https://evil.example", "/v1/models"), ("https://app.example", "/api/state")):
            answer = await page.get(path, headers=headers | {"Origin": origin})
            assert "access-control-allow-origin" not in answer.headers
