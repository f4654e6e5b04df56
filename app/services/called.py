"""What somebody may be called: one spelling to a name, and nobody like somebody else, or like the platform itself."""

import re
import unicodedata
from typing import Final

from app.wire.errors import BadInput

LONGEST: Final = 64
"""Characters."""
UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U0001d159\U000e0100-\U000e01ef]|  "
)
"""What Python holds for printable and no page shows; and two spaces, which a page shows as one."""
OURS: Final = re.compile(r"anonymous|beat|cli|platform|setup|guest(-[0-9a-f]+)?|discord-\d+(-[0-9a-f]+)?")
"""Under these the trail tells what nobody with an account did, guests go, and accounts that are made in Discord."""
ALIKE: Final = ("ARMENIAN", "CHEROKEE", "COPTIC", "CYRILLIC", "GREEK", "LATIN")
"""Alphabets with letters that look like another's, by the first word of a letter's name in Unicode."""


def spelt(name: str) -> str:
    """Return the one spelling of a name: however it is typed, it is the same account.

    Composed again at the end: a small letter may be one character where its capital takes two.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).strip().lower()).strip()


def check_name(name: str) -> str:
    """Return a name as it is kept; raise BadInput where nobody can be called so."""
    name = spelt(name)
    if not 1 <= len(name) <= LONGEST or not name.isprintable() or UNSEEN.search(name):
        raise BadInput(f"A name has 1 to {LONGEST} visible characters.")
    if OURS.fullmatch(name):
        raise BadInput(f"{name!r} is what the platform calls others: take another name.")
    if len({first for char in name if (first := unicodedata.name(char, "").split(" ")[0]) in ALIKE}) > 1:
        raise BadInput("This name mixes alphabets whose letters look alike: take one of them.")
    return name
