"""Signing in with the sandbox: the consent page, tokens, refresh and revoke (docs: topics/oauth2, RFC 6749, RFC 7636)."""

import base64
import hashlib
import html
import secrets
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from bots.sandbox.records import Application, Grant
from bots.sandbox.rest import PREFIX
from bots.sandbox.world import WORLD, World

CODE_SECONDS: Final = 600.0
"""A code is for at most ten minutes (RFC 6749, 4.1.2)."""
TOKEN_SECONDS: Final = 604_800
"""expires_in of an access token (docs: topics/oauth2, Access Token Response)."""
SCOPES: Final = frozenset({"identify", "guilds", "email", "guilds.members.read", "applications.commands"})


@dataclass(frozen=True, slots=True)
class _Code:
    application: int
    user: int
    scopes: list[str]
    redirect: str
    challenge: str | None
    method: str
    until: float


def routes(app: web.Application) -> None:
    """Serve them; Discord has them with and without the API's version."""
    app[CODES] = {}
    app.router.add_get("/oauth2/authorize", _page)
    app.router.add_post("/oauth2/authorize", _consent)
    for prefix in ("/api", PREFIX):
        app.router.add_post(prefix + "/oauth2/token", _token)
        app.router.add_post(prefix + "/oauth2/token/revoke", _revoke)


CODES: Final = web.AppKey("CODES", dict[str, _Code])


class _Refused(Exception):
    """An error as OAuth2 has them: error and error_description."""

    def __init__(self, error: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.error = error
        self.status = status

    def response(self) -> web.Response:
        """The JSON that says it."""
        return web.json_response({"error": self.error, "error_description": str(self)}, status=self.status)


def _asked(world: World, query: Any) -> tuple[Application, str, list[str]]:
    """The application, the way back and the scopes; what is wrong with these is never sent back to the address given."""
    client = query.get("client_id", "")
    application = world.store.applications.get(int(client)) if client.isdigit() else None
    if application is None:
        raise _Refused("invalid_client", "Unknown Application")
    redirect = query.get("redirect_uri") or next((one for one in application.redirects if "*" not in one), "")
    if not any(_fits(redirect, one) for one in application.redirects):
        raise _Refused(
            "invalid_request", "Invalid OAuth2 redirect_uri. The application does not list it among its redirects."
        )
    if query.get("response_type", "code") != "code":
        raise _Refused("unsupported_response_type", "The sandbox gives codes only.")
    scopes = query.get("scope", "").split()
    if not scopes or set(scopes) - SCOPES:
        raise _Refused("invalid_scope", "The requested scope is invalid, unknown, or malformed.")
    return application, redirect, scopes


def _fits(redirect: str, listed: str) -> bool:
    if not listed.endswith("*"):
        return redirect == listed
    # Only a whole host, with its colon or slash, may stand before the star.
    return urlsplit(redirect).scheme in ("http", "https") and redirect.startswith(listed[:-1]) and "@" not in redirect


async def _page(request: web.Request) -> web.StreamResponse:
    world = request.app[WORLD]
    try:
        application, _, scopes = _asked(world, request.query)
    except _Refused as refused:
        return _shown(f"<h1>This cannot be allowed</h1><p>{html.escape(str(refused))}</p>", 400)
    people = [one for one in world.store.users.values() if not one.bot]
    options = "".join(f'<option value="{one.id}">{html.escape(one.name)}</option>' for one in people)
    kept = "".join(
        f'<input type="hidden" name="{html.escape(key)}" value="{html.escape(value)}">'
        for key, value in request.query.items()
    )
    asks = "".join(f"<li>{html.escape(one)}</li>" for one in scopes)
    body = f"""<h1>{html.escape(application.name)}</h1><p>wants to know who you are:</p><ul>{asks}</ul>
<form method="post" action="/oauth2/authorize">{kept}
<label>Sign in as <select name="member">{options}</select></label>
<p><button name="answer" value="allow">Authorize</button> <button name="answer" value="deny">Cancel</button></p></form>"""
    return _shown(body)


def _shown(body: str, status: int = 200) -> web.Response:
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Authorize</title>
<link rel="stylesheet" href="/static/page.css"><main class="consent">{body}</main></html>"""
    headers = {
        "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    }
    return web.Response(status=status, text=page, content_type="text/html", headers=headers)


async def _consent(request: web.Request) -> web.StreamResponse:
    world = request.app[WORLD]
    form = {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    try:
        application, redirect, scopes = _asked(world, form)
    except _Refused as refused:
        return _shown(f"<h1>This cannot be allowed</h1><p>{html.escape(str(refused))}</p>", 400)
    back = {"state": form["state"]} if "state" in form else {}
    member = form.get("member", "")
    person = world.store.users.get(int(member)) if member.isdigit() else None
    if form.get("answer") != "allow" or person is None or person.bot:
        words = "The resource owner or authorization server denied the request"
        return _to(redirect, {"error": "access_denied", "error_description": words} | back)
    code = secrets.token_urlsafe(22)
    method = form.get("code_challenge_method", "plain")
    until = world.clock.time() + CODE_SECONDS
    request.app[CODES][code] = _Code(
        application.id, person.id, scopes, redirect, form.get("code_challenge"), method, until
    )
    return _to(redirect, {"code": code} | back)


def _to(redirect: str, query: dict[str, str]) -> web.Response:
    glue = "&" if urlsplit(redirect).query else "?"
    return web.Response(status=302, headers={"Location": f"{redirect}{glue}{urlencode(query)}"})


async def _token(request: web.Request) -> web.StreamResponse:
    world = request.app[WORLD]
    try:
        form = await _form(request)
        application = _client(world, request, form)
        match form.get("grant_type"):
            case "authorization_code":
                user, scopes = _redeem(world, request.app[CODES], application, form)
            case "refresh_token":
                old = _granted(world, application, form.get("refresh_token", ""))
                if old is None:
                    raise _Refused("invalid_grant", 'Invalid "refresh_token" in request.')
                world.store.grants.remove(old)
                user, scopes = old.user, old.scopes
            case _:
                raise _Refused("unsupported_grant_type", "The grant type is not supported.")
    except _Refused as refused:
        return refused.response()
    until = world.clock.time() + TOKEN_SECONDS
    grant = Grant(secrets.token_urlsafe(24), secrets.token_urlsafe(24), application.id, user, scopes, until)
    world.store.grants.append(grant)
    world.store.changed()
    return web.json_response(
        {
            "token_type": "Bearer",
            "access_token": grant.access,
            "expires_in": TOKEN_SECONDS,
            "refresh_token": grant.refresh,
            "scope": " ".join(scopes),
        }
    )


async def _form(request: web.Request) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        # docs: topics/oauth2: "JSON content is not permitted and will return an error".
        raise _Refused("invalid_request", "The body must be application/x-www-form-urlencoded.")
    return {key: value for key, value in (await request.post()).items() if isinstance(value, str)}


def _client(world: World, request: web.Request, form: dict[str, str]) -> Application:
    client, secret = form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, packed = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Basic":
        try:
            client, _, secret = base64.b64decode(packed).decode().partition(":")
        except ValueError:
            raise _Refused("invalid_client", "Invalid client", 401) from None
    application = world.store.applications.get(int(client)) if client.isdigit() else None
    if application is None or not secrets.compare_digest(application.secret.encode(), secret.encode()):
        raise _Refused("invalid_client", "Invalid client", 401)
    return application


def _redeem(
    world: World, codes: dict[str, _Code], application: Application, form: dict[str, str]
) -> tuple[int, list[str]]:
    """A code works once, for whom it was made, from where it was sent, by whoever began (PKCE)."""
    code = codes.pop(form.get("code", ""), None)
    if (
        code is None
        or code.until < world.clock.time()
        or code.application != application.id
        or form.get("redirect_uri", code.redirect) != code.redirect
    ):
        raise _Refused("invalid_grant", 'Invalid "code" in request.')
    if code.challenge is not None:
        verifier = form.get("code_verifier", "")
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        if (digest if code.method == "S256" else verifier) != code.challenge:
            raise _Refused("invalid_grant", 'Invalid "code_verifier" in request.')
    return code.user, code.scopes


def _granted(world: World, application: Application, token: str) -> Grant | None:
    mine = (one for one in world.store.grants if one.application == application.id)
    return next((one for one in mine if token and token in (one.refresh, one.access)), None)


async def _revoke(request: web.Request) -> web.StreamResponse:
    """Ends every token of the same authorization (docs: topics/oauth2, Token Revocation)."""
    world = request.app[WORLD]
    try:
        form = await _form(request)
        application = _client(world, request, form)
    except _Refused as refused:
        return refused.response()
    grant = _granted(world, application, form.get("token", ""))
    if grant is not None:
        user = grant.user
        kept = [one for one in world.store.grants if (one.application, one.user) != (application.id, user)]
        world.store.state.grants = kept
        world.store.changed()
    return web.json_response({})
