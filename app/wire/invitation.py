"""What a node is given to join: its settings in one line that can be pasted, checked for having come over whole."""

import base64
import binascii
import json
import re
import zlib
from typing import Final

from app.wire.errors import BadInput
from app.wire.names import NODE_NAME

HEAD: Final = "meatlizard-node-1."
"""What every such line begins with; the number is the form's."""
SETTINGS: Final = frozenset(
    {
        "NODE",
        "NODE_KEYS",
        "SLOTS",
        "REDIS_URL",
        "DISCORD_TOKEN",
        "DISCORD_GUILD",
        "DISCORD_SERVER_BOT",
        "DISCORD_API",
    }
)
"""All that a line may set. Whoever pastes one from a stranger must not thereby run a program of the stranger's."""
LONGEST: Final = 8192
"""Characters; a line is about 600."""


def dump(settings: dict[str, str]) -> str:
    """Return the line that carries these settings, named without their prefix."""
    if not set(settings) <= SETTINGS:
        raise ValueError(f"not for a node: {sorted(set(settings) - SETTINGS)}")
    body = json.dumps(settings, separators=(",", ":")).encode()
    return HEAD + base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).decode().rstrip("=")


def parse(line: str) -> dict[str, str]:
    """Return the settings in a line; raise BadInput where it is none, was cut short, or carries what it may not."""
    words = re.sub(r"\s+", "", line)
    if not words.startswith(HEAD) or len(words) > LONGEST:
        raise BadInput(f"This is no invitation of a node: paste the whole line, which begins with {HEAD}")
    try:
        raw = base64.urlsafe_b64decode(words.removeprefix(HEAD) + "==")
        check, body = raw[:4], raw[4:]
        if zlib.crc32(body).to_bytes(4, "big") != check:
            raise ValueError
        found = json.loads(body)
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise ValueError
    except (ValueError, binascii.Error):
        raise BadInput("This invitation did not come over whole: copy the line again, to its end.") from None
    # A file is named after the node: a stranger's line must not choose where it lies.
    named = "NODE" not in found or NODE_NAME.fullmatch(found["NODE"])
    if not named or not set(found) <= SETTINGS or any(re.search(r"[\x00-\x1f]", value) for value in found.values()):
        raise BadInput("This invitation carries what no invitation does; ask for a new one.")
    return found
