"""The way to another place and back: Discord by OAuth2, any other by OpenID Connect; code, state, PKCE, nonce."""

import hashlib
import secrets
from dataclasses import asdict
from typing import Any, Final

import httpx
import orjson
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.core import keys, redis
from app.core.config import settings
from app.services.person import Person
from app.services.providers import DISCORD, OIDC, Arrival, Purpose, offered, own_path
from app.wire import names
from app.wire.errors import BadInput, EnvelopeError, NotAllowed, NotFound, Unavailable

WAIT_SECONDS: Final = 8
"""How long another place may take for one answer, while somebody looks at a blank page."""
LEEWAY_SECONDS: Final = 60
"""How far another place's clock may be from ours."""
ALGORITHMS: Final = ["RS256", "ES256"]
"""Signatures that are believed; never `none`, and never one that uses our secret as the key."""


def begin(
    provider: str, back: str, following: str | None, invitation: str | None, link: Person | None
) -> tuple[str, str]:
    """Return the address to send a browser to, and the secret it has to bring back as a cookie.

    `back` is our address for the way back, `following` where to go on after, `link` whose account is to be linked.
    """
    if provider not in offered():
        raise NotFound("One cannot sign in that way here.")
    state, browser, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(4))
    whose = (link.id, link.login) if link else (None, "")
    purpose = Purpose(provider, verifier, nonce, _hash(browser), own_path(following), invitation, *whose)
    sealed = _ring(state).seal(orjson.dumps(asdict(purpose)))
    redis.client().set(names.sign_in(_hash(state)), sealed, ex=names.SIGN_IN_SECONDS)
    more = {"nonce": nonce} if provider == OIDC else {}
    with _client(provider, back) as client:
        url, _ = client.create_authorization_url(_places(provider)["authorization_endpoint"], state, verifier, **more)
    return str(url), browser


def finish(provider: str, back: str, state: str, browser: str, code: str) -> Arrival:
    """Return who came back; raise BadInput where they did not begin here, or the other place says otherwise."""
    sealed = redis.client().getdel(names.sign_in(_hash(state)))
    try:
        purpose = Purpose(**orjson.loads(_ring(state).open(sealed or b"", names.SIGN_IN_SECONDS)))
    except EnvelopeError as error:
        raise BadInput("This sign-in took too long or was finished before. Begin again.") from error
    if purpose.provider != provider or not secrets.compare_digest(purpose.browser, _hash(browser)):
        raise BadInput("This sign-in was begun in another browser. Begin again in this one.")
    try:
        with _client(provider, back) as client:
            places = _places(provider)
            token = client.fetch_token(places["token_endpoint"], code=code, code_verifier=purpose.verifier)
            if provider == DISCORD:
                return _discord(client, purpose)
            return _oidc(token, places, purpose)
    except OAuthError as error:
        raise BadInput(f"{offered()[provider]} did not confirm who you are. Begin again.") from error
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(f"{offered()[provider]} does not answer as it should. Try again in a moment.") from error


def _discord(client: Any, purpose: Purpose) -> Arrival:
    me = client.get(f"{settings().discord_api}/users/@me").raise_for_status().json()
    roles: tuple[int, ...] = ()
    if settings().discord_guild:
        member = client.get(f"{settings().discord_api}/users/@me/guilds/{settings().discord_guild}/member")
        if member.status_code == httpx.codes.NOT_FOUND:
            if settings().discord_sign_in == "guild":
                raise NotAllowed("You are not a member of this platform's server in Discord. Ask for an invitation to it.")
        else:
            roles = tuple(int(one) for one in member.raise_for_status().json()["roles"])
    elif settings().discord_sign_in == "guild":
        raise NotAllowed("This platform has no server in Discord whose members could sign in: MEATLIZARD_DISCORD_GUILD.")
    return Arrival(DISCORD, str(int(me["id"])), me.get("global_name") or me["username"], roles, purpose)


def _oidc(token: dict[str, Any], places: dict[str, Any], purpose: Purpose) -> Arrival:
    issuer, client_id = places["issuer"], settings().oidc_client_id
    known = KeySet.import_key_set(httpx.get(places["jwks_uri"], timeout=WAIT_SECONDS).raise_for_status().json())
    try:
        claims = jwt.decode(token.get("id_token", ""), known, algorithms=ALGORITHMS).claims
        jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": purpose.nonce},
        ).validate(claims)
    except JoseError as error:
        raise BadInput(f"{settings().oidc_name} sent a proof that does not hold. Begin again.") from error
    if claims.get("azp", client_id) != client_id:
        raise BadInput(f"{settings().oidc_name} sent a proof that is for somebody else. Begin again.")
    name = claims.get("preferred_username") or claims.get("name") or str(claims.get("email", "")).partition("@")[0]
    return Arrival(OIDC, str(claims["sub"])[:255], str(name), (), purpose)


def _client(provider: str, back: str) -> Any:
    if provider == DISCORD:
        client, secret = settings().discord_client_id, settings().discord_client_secret
        scope = "identify guilds.members.read"
    else:
        client, secret, scope = settings().oidc_client_id, settings().oidc_client_secret, "openid profile"
    return OAuth2Client(
        client_id=client,
        client_secret=secret.get_secret_value(),
        scope=scope,
        redirect_uri=back,
        code_challenge_method="S256",
        timeout=WAIT_SECONDS,
        follow_redirects=False,
    )


def _places(provider: str) -> dict[str, Any]:
    """Return where a provider has what; only what the settings name is ever asked."""
    if provider == DISCORD:
        api = settings().discord_api
        return {"authorization_endpoint": f"{api.partition('/api')[0]}/oauth2/authorize", "token_endpoint": f"{api}/oauth2/token"}
    issuer = settings().oidc_issuer.rstrip("/")
    try:
        answer = httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=WAIT_SECONDS).raise_for_status()
        found: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(f"{settings().oidc_name} cannot be reached. Try again in a moment.") from error
    if str(found.get("issuer", "")).rstrip("/") != issuer:
        raise Unavailable(f"{settings().oidc_name} says that it is somebody else: MEATLIZARD_OIDC_ISSUER is not its name.")
    return found


def _ring(state: str) -> Any:
    return keys.master().derive("login", "sign-in", state)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
