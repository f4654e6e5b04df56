"""Linking somebody in Discord to an account, as `/link` and the press on its button do."""

from app.services import links
from app.services.person import Person


def claim(code: str, discord_id: int, name: str) -> Person:
    """Give a code and say yes."""
    offer = links.offer(code, discord_id)
    return links.confirm(offer.account, offer.mark, discord_id, name)
