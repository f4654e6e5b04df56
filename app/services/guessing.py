"""Whether a password would soon be guessed, by zxcvbn and its lists of common passwords, words, names and rows of keys."""

import threading
from typing import Final

from zxcvbn import zxcvbn

FAIR: Final = 3
"""Of zxcvbn's scores from 0 to 4: a hundred million guesses, by somebody who knows what people choose."""
LOOKED_AT: Final = 20
"""Characters that are looked at: enough to be fair, and seconds less than more of them where somebody made them up to take long."""
OURS: Final = ("meatlizard", "lizard")
"""Words that everybody would think of here, beside the person's own name."""

_one: Final = threading.Lock()
"""The library keeps the words of the person it is asked about where everybody's are."""


def easy(password: str, name: str) -> bool:
    """Say whether the password of somebody called `name` is among the first that would be tried."""
    with _one:
        return bool(zxcvbn(password[:LOOKED_AT], user_inputs=[name, *OURS])["score"] < FAIR)
