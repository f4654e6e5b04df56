"""Signing in elsewhere: with the sandbox's Discord, and with a real OpenID Connect provider; state, PKCE, proofs, links."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from sqlalchemy import select, update

from app.core import redis
from app.core.config import settings
from app.core.db import transaction
from app.core.models import Identity, User
from app.services import (
    accounts,
    handshake,
    identities,
    invitations,
    limits,
    links,
    logins,
    membership,
    providers,
    tokens,
    trail,
)
from app.wire import names
from app.wire.errors import BadInput, NotSignedIn
from app.wire.states import Door
from bots.sandbox.clock import Clock
from bots.sandbox.config import Config
from bots.sandbox.server import Sandbox, serving
from tests.support.oidc import oidc_provider
from tests.support.people import Member
from tests.support.website import Site


def use(patch: pytest.MonkeyPatch, **values: object) -> None:
    for name, value in values.items():
        patch.setenv(f"MEATLIZARD_{name.upper()}", str(value))
    settings.cache_clear()


@pytest.fixture
async def discord(servers: object, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    async with serving(Config(limits="off"), Clock()) as sandbox:
        application = next(one for one in sandbox.world.store.applications.values() if one.name == "Server-Bot")
        use(
            monkeypatch,
            discord_api=sandbox.api,
            discord_guild=sandbox.guild,
            discord_client_id=application.id,
            discord_client_secret=application.secret,
        )
        yield sandbox


@pytest.fixture
def oidc(servers: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with oidc_provider(("4711", "Grace H.")) as url:
        use(monkeypatch, oidc_issuer=url, oidc_client_id="us", oidc_client_secret="s", oidc_people="anyone")
        yield url


async def there(browser: httpx.AsyncClient, provider: str, link: bool = False, **wish: Any) -> str:
    """Press the button; return where it leads."""
    path = f"/api/account/identities/{provider}" if link else f"/api/sign-in/{provider}"
    answer = await browser.post(path, json=wish)
    assert answer.status_code == 200, answer.text
    assert {"HttpOnly", "SameSite=lax"} <= set(answer.headers["set-cookie"].split("; "))
    return str(answer.json()["url"])


async def consent(url: str, **form: str) -> str:
    """Agree at the other place; return the way back."""
    async with httpx.AsyncClient() as page:
        query = {key: value[0] for key, value in parse_qs(urlsplit(url).query).items()}
        target = url if "sub" in form else url.partition("?")[0]
        answer = await page.post(target, data=form if "sub" in form else query | form)
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


def member(sandbox: Sandbox, name: str) -> str:
    return str(next(key for key, one in sandbox.world.store.users.items() if one.name == name))


async def come_back(browser: httpx.AsyncClient, back: str) -> httpx.Response:
    # The login's strict cookie does not come along on the way back.
    return await browser.get(back, headers={"accept": "text/html"})


async def test_discord_from_the_button_to_the_chat(site: Site, discord: Sandbox) -> None:
    async with site.browser() as browser:
        url = await there(browser, "discord", next="/archive")
        asked = parse_qs(urlsplit(url).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert "secret" not in url
        back = await consent(url, member=member(discord, "ada"), answer="allow")
        assert back.startswith(f"{site.url}/sign-in/discord/callback?")
        answer = await come_back(browser, back)
        assert answer.status_code == 200, answer.text
        assert 'content="0; url=/archive"' in answer.text
        me = (await browser.get("/api/me")).json()
        assert (me["name"], me["role"]) == (f"discord-{member(discord, 'ada')}", "member")
        assert (await come_back(browser, back)).status_code == 400, "a way back is good once"
    assert links.user_of(int(member(discord, "ada"))).id == me["id"]


async def test_a_role_of_the_guild_is_taken_and_lost(
    site: Site, discord: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = discord.world.store.member(discord.guild, int(member(discord, "ada")))
    role = discord.world.store.guild_roles(discord.guild)[-1].id
    use(monkeypatch, discord_roles=f"{role}=admin")
    for held, expected in (([role], "admin"), ([], "member")):
        ada.roles[:] = held
        async with site.browser() as browser:
            back = await consent(await there(browser, "discord"), member=member(discord, "ada"), answer="allow")
            await come_back(browser, back)
            assert (await browser.get("/api/me")).json()["role"] == expected


async def test_a_role_of_the_guild_is_no_longer_had_than_held(
    site: Site, discord: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = int(member(discord, "ada"))
    role = discord.world.store.guild_roles(discord.guild)[-1].id
    use(monkeypatch, discord_roles=f"{role}=admin")
    discord.world.store.member(discord.guild, who).roles[:] = [role]

    async def signed_in(browser: httpx.AsyncClient) -> None:
        await come_back(browser, await consent(await there(browser, "discord"), member=str(who), answer="allow"))
        assert (await browser.get("/api/me")).json()["role"] == "admin"
        assert membership.watched() == [who]

    async with site.browser() as browser:
        await signed_in(browser)
        assert links.enter(who, "ada", None).role == "admin", "what is not known takes nothing away"
        assert links.enter(who, "ada", []).role == "member"
        assert (await browser.get("/api/me")).json()["role"] == "member"
    async with site.browser() as browser:
        await signed_in(browser)
        membership.looked(who, "admin")
        assert (await browser.get("/api/me")).json()["role"] == "admin"
        membership.looked(who, None)
        assert (await browser.get("/api/me")).json()["role"] == "member"
        name = (await browser.get("/api/me")).json()["name"]
        token = tokens.new(name, "", tokens.DEFAULT, None, "test", Door.CLI)
        membership.left(who)
        assert (await browser.get("/api/me")).status_code == 401
        with pytest.raises(NotSignedIn):
            tokens.holder(token)
        assert membership.watched() == []
        accounts.set_role(name, "admin", "test", Door.CLI)
        assert links.enter(who, "ada", []).role == "admin", "what was given here is not the guild's to take"


@pytest.mark.parametrize("way", ["stranger", "denied", "another browser", "no state", "shut"])
async def test_who_does_not_get_in(site: Site, discord: Sandbox, way: str) -> None:
    who = member(discord, "ada")
    if way == "stranger":
        discord.world.store.remove_member(discord.world.store.member(discord.guild, int(who)))
    if way == "shut":
        person = links.enter(int(who), "ada", [])
        with transaction() as tx:
            tx.execute(update(User).where(User.id == person.id).values(disabled_at=User.created_at))
    async with site.browser() as browser, site.browser() as other:
        back = await consent(await there(browser, "discord"), member=who, answer="deny" if way == "denied" else "allow")
        if way == "no state":
            redis.client().flushall()
        here = other if way == "another browser" else browser
        answer = await come_back(here, back)
        assert answer.status_code in (400, 403), answer.text
        assert (await here.get("/api/me")).status_code == 401
    told = [row for row in trail.listed() if row.action == "login.refused"]
    assert [row.details["how"] for row in told] == (["discord"] if way == "shut" else [])


@pytest.mark.parametrize("path", ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\nb", "javascript:1", None])
def test_nothing_leads_elsewhere(path: str | None) -> None:
    assert providers.own_path(path) == "/"
    assert providers.own_path("/s/1?x=2") == "/s/1?x=2"


async def test_a_linked_account_is_the_one_that_is_signed_in(site: Site, ada: Member, oidc: str, discord: Sandbox) -> None:
    for provider, form in (("oidc", {"sub": "4711"}), ("discord", {"member": member(discord, "bob"), "answer": "allow"})):
        async with site.browser(ada) as browser:
            back = await consent(await there(browser, provider, link=True), **form)
            assert (await come_back(browser, back)).status_code == 200
            assert (await browser.get("/api/me")).json()["name"] == "ada"
        async with site.browser() as browser:
            await come_back(browser, await consent(await there(browser, provider), **form))
            assert (await browser.get("/api/me")).json()["name"] == "ada"


@pytest.mark.parametrize("provider", ["oidc", "discord"])
@pytest.mark.parametrize("way", ["password", "one login", "ban"])
async def test_nothing_is_linked_by_who_was_shut_out_meanwhile(
    site: Site, ada: Member, oidc: str, discord: Sandbox, provider: str, way: str
) -> None:
    form = {"sub": "4711"} if provider == "oidc" else {"member": member(discord, "bob"), "answer": "allow"}
    async with site.browser(ada) as browser:
        back = await consent(await there(browser, provider, link=True), **form)
        match way:
            case "password":
                accounts.set_password("ada", "correct horse battery", "test", Door.CLI)
            case "one login":
                logins.end(ada.login)
            case "ban":
                accounts.disable("ada", "test", Door.CLI)
        answer = await come_back(browser, back)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?")
    assert links.discord_of(ada.id) is None
    with transaction() as tx:
        assert tx.scalar(select(Identity.subject)) is None


async def test_a_provider_that_is_somebody_elses_is_not_linked_twice(site: Site, ada: Member, bob: Member, oidc: str) -> None:
    for who, expected in ((ada, 200), (bob, 400)):
        async with site.browser(who) as browser:
            answer = await come_back(browser, await consent(await there(browser, "oidc", link=True), sub="4711"))
            assert answer.status_code == expected


async def test_oidc_makes_an_account_once_and_never_takes_ones_name(site: Site, ada: Member, oidc: str) -> None:
    for _ in range(2):
        async with site.browser() as browser:
            await come_back(browser, await consent(await there(browser, "oidc"), sub="4711"))
            first = (await browser.get("/api/me")).json()
            assert (first["name"], first["role"]) == ("grace-h.", "member")
    async with site.browser() as browser:
        await come_back(browser, await consent(await there(browser, "oidc"), sub="ada"))
        taken = (await browser.get("/api/me")).json()
        assert taken["id"] not in (ada.id, first["id"])


@pytest.mark.parametrize("theirs", ["cli", "\u3164", "gr\u0430ce", "guest-1"])
async def test_who_is_called_so_elsewhere_as_nobody_may_be_here_gets_in_by_another_name(
    servers: object, monkeypatch: pytest.MonkeyPatch, theirs: str
) -> None:
    use(monkeypatch, oidc_people="anyone")
    purpose = providers.Purpose("oidc", "", "", "", "/", None, None)
    identities.sign_in(providers.Arrival("oidc", "4711", theirs, (), purpose), "", "")
    assert [one.name for one in accounts.users()] == ["someone"]


async def test_who_only_begins_is_told_when_to_come_back(site: Site, oidc: str) -> None:
    limits.set_limit("address", "tries", 2, "test", Door.CLI)
    async with site.browser() as browser:
        for status in (200, 200, 429):
            assert (await browser.post("/api/sign-in/oidc", json={})).status_code == status
    assert len(redis.client().keys(names.sign_in("*"))) == 2


async def test_strangers_need_an_invitation_where_so_set(site: Site, oidc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, oidc_people="linked")
    code = invitations.invite("admin", 7, "", "test", Door.CLI)
    async with site.browser() as browser:
        assert (await come_back(browser, await consent(await there(browser, "oidc"), sub="4711"))).status_code == 403
        answer = await come_back(browser, await consent(await there(browser, "oidc", invitation=code), sub="4711"))
        assert answer.status_code == 200, answer.text
        assert (await browser.get("/api/me")).json()["role"] == "admin"


def _claims(issuer: str, nonce: str, **more: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": issuer, "aud": "us", "sub": "4711", "exp": now + 60, "iat": now, "nonce": nonce} | more


RSA, EC, FOREIGN = RSAKey.generate_key(2048), ECKey.generate_key("P-256"), RSAKey.generate_key(2048)
for _key in (RSA, EC):
    _key.ensure_kid()


def _signed(claims: dict[str, Any], key: Any = RSA, algorithm: str = "RS256", named: Any = RSA) -> str:
    return jwt.encode({"alg": algorithm, "kid": named.kid}, claims, key, algorithms=[algorithm])


FORGERIES: dict[str, Any] = {
    "issuer": lambda iss, nonce: _signed(_claims("https://evil.example", nonce)),
    "audience": lambda iss, nonce: _signed(_claims(iss, nonce, aud="them")),
    "party": lambda iss, nonce: _signed(_claims(iss, nonce, aud=["us", "them"], azp="them")),
    "late": lambda iss, nonce: _signed(_claims(iss, nonce, exp=int(time.time()) - 3600)),
    "nonce": lambda iss, nonce: _signed(_claims(iss, "other")),
    "key": lambda iss, nonce: _signed(_claims(iss, nonce), FOREIGN),
    "shared": lambda iss, nonce: _signed(_claims(iss, nonce), OctKey.import_key("s" * 32), "HS256"),
    "nothing": lambda iss, nonce: "",
}


@pytest.mark.parametrize("kind", [*FORGERIES, "sound RSA", "sound EC"])
def test_only_a_proof_that_holds_is_believed(oidc: str, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    keys = KeySet([RSA, EC]).as_dict(private=False)
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, json=keys, request=httpx.Request("GET", oidc)))
    purpose = providers.Purpose("oidc", "", "n-1", "", "/", None, None)
    places = {"issuer": oidc, "jwks_uri": oidc}
    if kind.startswith("sound"):
        key, alg = (RSA, "RS256") if kind == "sound RSA" else (EC, "ES256")
        token = _signed(_claims(oidc, "n-1"), key, alg, key)
        assert handshake._oidc({"id_token": token}, places, purpose).subject == "4711"
        return
    with pytest.raises(BadInput):
        handshake._oidc({"id_token": FORGERIES[kind](oidc, "n-1")}, places, purpose)
