"""Other places that say who somebody is: which ones there are, and what is known of somebody on the way there and back."""

from dataclasses import dataclass
from typing import Final

from app.core.config import settings

DISCORD: Final = "discord"
OIDC: Final = "oidc"


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why somebody was sent elsewhere; kept sealed in Redis until they come back."""

    provider: str
    verifier: str
    nonce: str
    browser: str
    """Hash of what only the browser holds that began: another's way back is of no use to anyone."""
    next: str
    invitation: str | None
    link: str | None
    """The account that shall be linked, where somebody signed in began."""
    login: str = ""
    """The login they began it with: once that has ended, nothing is linked any more."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who came back, by the word of the other place."""

    provider: str
    subject: str
    name: str
    roles: tuple[int, ...]
    """Their roles in the guild, where the place is Discord."""
    purpose: Purpose


def offered() -> dict[str, str]:
    """Return the places with which one can sign in here, and what they are called."""
    found = {}
    if settings().discord_client_id and settings().discord_client_secret.get_secret_value():
        found[DISCORD] = "Discord"
    if settings().oidc_issuer and settings().oidc_client_id:
        found[OIDC] = settings().oidc_name
    return found


def own_path(path: str | None) -> str:
    """Return a path of ours to go on to; for whatever leads elsewhere, or might, `/`."""
    fine = path and path.startswith("/") and not path.startswith(("//", "/\\")) and path.isascii() and path.isprintable()
    return path if path and fine and "\\" not in path else "/"
