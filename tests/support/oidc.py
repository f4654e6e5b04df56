"""A real OpenID Connect provider for the tests, on a port of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import flask
import oidc_provider_mock
from oidc_provider_mock import _app as theirs

LASTS = timedelta(hours=1)


def _key(self: object, client: object) -> Any:
    return theirs.storage.jwk.as_dict(is_private=True)


def _claims(self: object, client: Any) -> dict[str, Any]:
    return {"iss": flask.request.host_url.rstrip("/"), "aud": [client.get_client_id()]}


def _mend() -> None:
    """Give it the methods that Authlib asks for now; the one that it has is deprecated, and will not be asked any more."""
    code = theirs.OpenIDCode
    if "get_jwt_config" in vars(code):
        del code.get_jwt_config
        code.resolve_client_private_key = _key
        code.get_client_claims = _claims
        code.get_client_algorithm = lambda *_: "RS256"
        code.DEFAULT_EXPIRES_IN = int(LASTS.total_seconds())


@contextmanager
def oidc_provider(*people: Any) -> Iterator[str]:
    """Run one that knows these people, `sub` and name each; return its address."""
    _mend()
    users = [oidc_provider_mock.User(sub=sub, claims={"preferred_username": name}) for sub, name in people]
    with oidc_provider_mock.run_server_in_thread(user_claims=users) as server:
        yield f"http://localhost:{server.server_port}"
