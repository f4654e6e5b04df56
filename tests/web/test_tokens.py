"""Tokens for programs: shown once, kept as hashes, opening what their scopes say, ended when they are revoked or over."""

import asyncio
from datetime import timedelta

import httpx
import openai
import pytest
from sqlalchemy import select

from app.core.db import transaction
from app.core.models import ApiToken, AuditRecord, now
from app.services import accounts, logins, tokens
from app.services.rights import RIGHTS, SCOPES, Rank, Right
from app.wire.errors import BadInput, NotFound, NotSignedIn
from app.wire.states import Door
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.website import Site


def made(user: str = "ada", scopes: tuple[str, ...] = tokens.DEFAULT, days: int | None = None) -> str:
    return tokens.new(user, "a program", scopes, days, "test", Door.CLI)


def program(site: Site, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=site.url, headers={"Authorization": f"Bearer {token}"})


def test_it_is_kept_as_a_hash(servers: Servers, ada: Member) -> None:
    token = made()
    with transaction() as tx:
        for row in tx.scalars(select(ApiToken)):
            assert token not in str(vars(row))
        for record in tx.scalars(select(AuditRecord)):
            assert token not in str(record.details)
    assert token.startswith("ml-")
    assert all(token not in repr(one) for one in tokens.listed())


def test_its_time_ends_it(servers: Servers, ada: Member) -> None:
    token = made(days=1)
    assert tokens.holder(token).name == "ada"
    with transaction() as tx:
        kept = tx.scalars(select(ApiToken).where(ApiToken.token_hash == tokens.digest(token))).one()
        kept.expires_at = now() - timedelta(seconds=1)
    with pytest.raises(NotSignedIn):
        tokens.holder(token)
    assert not next(one for one in tokens.listed(ada.id) if one.expires_at).stands


def test_its_last_use_is_kept(servers: Servers, ada: Member) -> None:
    token = made()
    assert tokens.listed(ada.id)[0].used_at is None
    tokens.holder(token)
    first = tokens.listed(ada.id)[0].used_at
    assert first is not None
    tokens.holder(token)
    assert tokens.listed(ada.id)[0].used_at == first, "not with every request"


@pytest.mark.parametrize("scopes", [(), ("root",), ("chat", "")])
def test_a_scope_that_is_none_is_refused(servers: Servers, ada: Member, scopes: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="chat, read, admin"):
        made(scopes=scopes)


def test_nobody_makes_endless_ones(servers: Servers, ada: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MOST", 3)
    made(), made()
    with pytest.raises(BadInput, match="already"):
        made()


def test_a_scope_never_opens_more_than_the_role_has(servers: Servers, ada: Member) -> None:
    whole = tokens.holder(made(scopes=("admin",)))
    assert {right for right in Right if whole.may(right)} == RIGHTS[Rank.MEMBER] - {Right.LINK}
    accounts.set_role("ada", "owner", "test", Door.CLI)
    for scope, rights in SCOPES.items():
        one = tokens.holder(made(scopes=(scope,)))
        assert {right for right in Right if one.may(right)} == rights


async def test_what_each_scope_opens(site: Site, ada: Member) -> None:
    opens = {
        ("GET", "/v1/models"): {"chat", "read", "admin"},
        ("GET", "/api/state"): {"chat", "read", "admin"},
        ("POST", "/v1/chat/completions"): {"chat", "admin"},
        ("GET", "/api/sessions"): {"chat", "admin"},
        ("POST", "/api/sessions"): {"chat", "admin"},
        ("GET", "/api/tokens"): {"admin"},
    }
    for scope in SCOPES:
        async with program(site, made(scopes=(scope,))) as client:
            for (method, path), scopes in opens.items():
                answer = await client.request(method, path, json={"model": "default", "messages": [{"role": "user", "content": "x"}]})
                assert (answer.status_code != 403) is (scope in scopes), (scope, path, answer.text)
                if scope not in scopes and path.startswith("/api"):  # What her role has, and this token has not.
                    assert "This token is not for that" in answer.text


async def test_openais_client_tells_a_missing_scope(site: Site, ada: Member) -> None:
    async with openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key=made(scopes=("read",)), max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError, match="scope 'chat'"):
            await client.chat.completions.create(model="default", messages=[{"role": "user", "content": "x"}])


async def test_a_page_makes_lists_and_revokes_ones_own(site: Site, ada: Member, bob: Member) -> None:
    async with site.browser(ada) as browser:
        answer = await browser.post("/api/tokens", json={"label": "<b>WebUI</b>", "read": False, "days": 30})
        assert answer.status_code == 201, answer.text
        secret = answer.json()["secret"]
        assert (await asyncio.to_thread(tokens.holder, secret)).scopes == {"chat"}
        page = (await browser.get("/tokens")).text
        assert secret not in page
        assert "&lt;b&gt;WebUI" in page
        listed = (await browser.get("/api/tokens")).json()["tokens"]
        [one] = [row for row in listed if row["name"] == "<b>WebUI</b>"]
        assert secret not in str(listed)
        async with site.browser(bob) as other:
            assert (await other.delete(f"/api/tokens/{one['id']}")).status_code == 404
            assert (await other.get("/api/tokens")).json()["tokens"][0]["id"] != one["id"]
        assert (await browser.delete(f"/api/tokens/{one['id']}")).status_code == 204
        assert (await browser.delete(f"/api/tokens/{one['id']}")).status_code == 204
        assert "&lt;b&gt;WebUI" not in (await browser.get("/tokens")).text
    with pytest.raises(NotSignedIn):
        tokens.holder(secret)


async def test_a_token_makes_no_other_token(site: Site, ada: Member) -> None:
    async with program(site, made(scopes=("admin",))) as client:
        answer = await client.post("/api/tokens", json={"label": "forever"})
        assert answer.status_code == 403
        assert "makes no other token" in answer.text
        # Nor a login, which could make one: by a password where there is none yet, or by a place that vouches for its finder.
        ways = ("/api/account/password", {"new": "a passing stranger's"}), ("/api/link", {}), ("/api/account/identities/oidc", {})
        for path, body in ways:
            assert (await client.post(path, json=body)).status_code == 403, path
    assert not accounts.has_password(logins.person(ada.login))


def test_revoking_needs_an_id_that_there_is(servers: Servers, ada: Member, bob: Member) -> None:
    [mine] = tokens.listed(ada.id)
    for words in ("nonsense", "\0", bob.id):
        with pytest.raises(NotFound):
            tokens.revoke(words, "test", Door.CLI)
    with pytest.raises(NotFound):
        tokens.revoke(mine.id, "bob", Door.WEB, bob.id)
    assert tokens.listed(ada.id)[0].stands
