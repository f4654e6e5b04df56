"""Signing in: page, consent, code and PKCE, refresh, revoke, and refusals in Discord's form."""

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest

BACK = "http://127.0.0.1:9999/back"


@pytest.fixture
def application(sandbox):
    return next(one for one in sandbox.world.store.applications.values() if one.name == "Server-Bot")


@pytest.fixture
def ask(sandbox, http, application):
    """The authorize request as a browser makes it, up to the way back."""

    async def allow(answer="allow", **more):
        ada = next(key for key, one in sandbox.world.store.users.items() if one.name == "ada")
        query = {
            "client_id": str(application.id),
            "response_type": "code",
            "redirect_uri": BACK,
            "scope": "identify guilds",
        }
        query |= {"state": "s-1"} | more
        async with http.get(sandbox.url + "/oauth2/authorize", params=query) as page:
            text = await page.text()
            if page.status != 200:
                return page.status, text
            assert "Server-Bot" in text
            assert "ada" in text
            assert "script" not in text
        form = query | {"member": str(ada), "answer": answer}
        async with http.post(sandbox.url + "/oauth2/authorize", data=form, allow_redirects=False) as response:
            assert response.status == 302
            back = urlsplit(response.headers["Location"])
            assert back.netloc == "127.0.0.1:9999"
            return response.status, {key: value[0] for key, value in parse_qs(back.query).items()}

    return allow


@pytest.fixture
def token(sandbox, http, application):
    async def exchange(basic=True, path="/oauth2/token", **form):
        headers = {}
        if basic:
            pair = f"{application.id}:{application.secret}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        async with http.post(sandbox.api + path, data=form, headers=headers) as response:
            return response.status, await response.json()

    return exchange


async def test_the_whole_way(ask, token, http, sandbox):
    _, back = await ask()
    assert back["state"] == "s-1"
    form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": BACK}
    status, given = await token(**form)
    assert status == 200
    assert (given["token_type"], given["scope"], given["expires_in"]) == ("Bearer", "identify guilds", 604_800)
    # A code works once.
    assert await token(**form) == (400, {"error": "invalid_grant", "error_description": 'Invalid "code" in request.'})

    async def me(access, path="/users/@me"):
        async with http.get(sandbox.api + path, headers={"Authorization": f"Bearer {access}"}) as response:
            return response.status, await response.json()

    status, person = await me(given["access_token"])
    assert (status, person["username"], person["bot"]) == (200, "ada", False)
    status, guilds = await me(given["access_token"], "/users/@me/guilds")
    assert guilds[0]["id"] == str(sandbox.guild)
    # A member's token opens nothing of a bot's.
    assert (await me(given["access_token"], f"/guilds/{sandbox.guild}"))[0] == 401
    status, fresh = await token(grant_type="refresh_token", refresh_token=given["refresh_token"])
    assert status == 200
    assert (await me(given["access_token"]))[0] == 401
    assert (await token(path="/oauth2/token/revoke", token=fresh["access_token"]))[0] == 200
    assert (await me(fresh["access_token"]))[0] == 401
    assert (await token(grant_type="refresh_token", refresh_token=fresh["refresh_token"]))[1][
        "error"
    ] == "invalid_grant"


async def test_pkce(ask, token):
    verifier = "v" * 50
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    for wrong in ("", "w" * 50):
        _, back = await ask(code_challenge=challenge, code_challenge_method="S256")
        form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": BACK}
        assert (await token(code_verifier=wrong, **form))[1]["error"] == "invalid_grant"
    _, back = await ask(code_challenge=challenge, code_challenge_method="S256")
    form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": BACK}
    assert (await token(code_verifier=verifier, **form))[0] == 200


async def test_scopes_bound_what_is_seen(ask, token, http, sandbox):
    _, back = await ask(scope="identify")
    _, given = await token(grant_type="authorization_code", code=back["code"], redirect_uri=BACK)
    headers = {"Authorization": f"Bearer {given['access_token']}"}
    async with http.get(sandbox.api + "/users/@me/guilds", headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (403, 50026)
    sandbox.world.clock.advance(604_801)
    async with http.get(sandbox.api + "/users/@me", headers=headers) as response:
        assert response.status == 401


async def test_a_members_roles_are_shown_to_their_own_token(ask, token, http, sandbox, control):
    role = await control("roles", name="admins")
    await control("members/role", member="ada", role=role["id"])
    _, back = await ask(scope="identify guilds.members.read")
    _, given = await token(grant_type="authorization_code", code=back["code"], redirect_uri=BACK)
    headers = {"Authorization": f"Bearer {given['access_token']}"}
    async with http.get(f"{sandbox.api}/users/@me/guilds/{sandbox.guild}/member", headers=headers) as response:
        assert (await response.json())["roles"] == [role["id"]]
    async with http.get(f"{sandbox.api}/oauth2/@me", headers=headers) as response:
        assert (await response.json())["user"]["username"] == "ada"


async def test_refusals(ask, token, http, sandbox, application):
    _, back = await ask(answer="deny")
    assert (back["error"], back["state"]) == ("access_denied", "s-1")
    assert (await ask(redirect_uri="https://evil.example/"))[0] == 400
    assert (await ask(redirect_uri="http://127.0.0.1:9@evil.example/"))[0] == 400
    assert (await ask(client_id="1"))[0] == 400
    assert (await ask(scope="everything"))[0] == 400
    assert (
        await token(basic=False, grant_type="authorization_code", client_id=str(application.id), client_secret="x")
    ) == (
        401,
        {"error": "invalid_client", "error_description": "Invalid client"},
    )
    assert (await token(grant_type="password"))[1]["error"] == "unsupported_grant_type"
    async with http.post(sandbox.api + "/oauth2/token", json={"grant_type": "x"}) as response:
        assert (await response.json())["error"] == "invalid_request"
    _, back = await ask()
    sandbox.world.clock.advance(601)
    assert (await token(grant_type="authorization_code", code=back["code"], redirect_uri=BACK))[1][
        "error"
    ] == "invalid_grant"
