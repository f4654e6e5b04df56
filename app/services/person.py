"""Whoever is at the door, once they are known."""

from dataclasses import dataclass
from typing import Final

from app.services.rights import Rank, Right, may, opened

NOBODY_YET: Final = "00000000-0000-0000-0000-000000000000"
"""The id of a guest of whom nothing is kept: no row bears it, so whatever is looked up under it is not there."""


@dataclass(frozen=True, slots=True)
class Person:
    """A user, a guest, or a program with a user's token."""

    id: str
    name: str
    role: str
    unlimited: bool = False
    login: str = ""
    """The login they hold; empty where they came with a token."""
    token: str = ""
    """The id of the token they came with; empty where they came with a login."""
    scopes: frozenset[str] | None = None
    """What the token they came with opens; None where they came with a login."""

    @property
    def guest(self) -> bool:
        """Say whether they are here without an account."""
        return self.role == Rank.GUEST

    @property
    def admin(self) -> bool:
        """Say whether they look after the platform."""
        return self.role in (Rank.OWNER, Rank.ADMIN)

    def may(self, right: Right) -> bool:
        """Say whether they have a right, and came with something that opens it."""
        return may(self.role, right) and (self.scopes is None or opened(self.scopes, right))


VISITOR: Final = Person(NOBODY_YET, "guest", Rank.GUEST)
"""A guest of whom nothing is kept: they get a row of their own with their first session."""
