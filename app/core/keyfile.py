"""The settings file's line with the master keys: the one setting that changes while everything runs."""

import os

from dotenv import set_key

from app.core import keys
from app.core.config import FILE_NAME, home
from app.wire.envelope import Ring
from app.wire.errors import NotAllowed


def ours() -> bool:
    """Say whether the keys stand in the settings file of this home, and not in the environment."""
    return keys.SETTING not in os.environ and (home() / FILE_NAME).is_file()


def check() -> None:
    """Raise NotAllowed where the keys cannot be changed from here."""
    if not ours():
        raise NotAllowed(
            f"{keys.SETTING} comes from the environment here, not from {home() / FILE_NAME}. Change it there by hand, "
            "then run `meatlizard keys reseal`: docs/operations.md says in which order."
        )


def write(ring: Ring) -> None:
    """Replace the keys in the settings file at one stroke; every process of this home uses them from its next act on."""
    check()
    set_key(home() / FILE_NAME, keys.SETTING, ring.dump(), quote_mode="auto")
