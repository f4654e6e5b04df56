"""Passwords: argon2id, the same work whether or not there is anything to compare with."""

import secrets
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.wire.errors import BadInput

SHORTEST: Final = 10
"""Fewest characters of a password that a person chooses."""
LONGEST: Final = 1024
"""Most characters: any sentence fits, and hashing it takes no longer than it should."""


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()  # argon2id with the parameters of RFC 9106, as the library keeps them up to date.


@cache
def _nobody() -> str:
    # Verified where there is no password, so that every refusal takes the same time.
    return _hasher().hash(secrets.token_hex())


def check(password: str, name: str) -> None:
    """Raise BadInput where somebody called `name` may not choose this password."""
    if len(password) < SHORTEST:
        raise BadInput(f"The password is too short: {SHORTEST} characters at least.")
    if len(password) > LONGEST:
        raise BadInput(f"The password is too long: {LONGEST:,} characters at most.")
    # Here, since the lists of common passwords and words take 15 MB that only a process which is given one shall have.
    from app.services import guessing

    if guessing.easy(password, name):
        raise BadInput(
            "This password is too easy to guess: it is a common one, or made of common words, names, rows of keys or dates. "
            "Take another; four words that have nothing to do with each other are good."
        )


def hashed(password: str) -> str:
    """Return the hash that is kept of a password."""
    try:
        return _hasher().hash(password)
    except UnicodeEncodeError as error:  # Half of a character that takes two.
        raise BadInput("This password holds a character that is none: type it again.") from error


def verify(known: str | None, password: str) -> bool:
    """Say whether a password is the one that was hashed; takes as long where nothing was."""
    try:
        _hasher().verify(known or _nobody(), password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
    return known is not None


def outdated(known: str) -> bool:
    """Say whether a hash was made with parameters that are not today's."""
    return _hasher().check_needs_rehash(known)
