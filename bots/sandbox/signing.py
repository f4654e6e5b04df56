"""Links to files that expire and cannot be made up (docs: reference, Signed Attachment CDN URLs)."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

from bots.sandbox.clock import Clock
from bots.sandbox.records import Attachment

LIFETIME: Final = 24 * 3600
"""Seconds a link works; Discord's last about a day."""


class Signer:
    """Makes and checks the parameters ex (expiry), is (issued) and hm (signature), numbers in hex as Discord's."""

    def __init__(self, key: str, clock: Clock, origin: Callable[[], str]) -> None:
        self._key = key.encode()
        self._clock = clock
        self._origin = origin

    def link(self, attachment: Attachment) -> str:
        """Where the file is now."""
        now = int(self._clock.time())
        path = f"/cdn/attachments/{attachment.channel}/{attachment.id}/{quote(attachment.filename)}"
        expires, issued = f"{now + LIFETIME:x}", f"{now:x}"
        return f"{self._origin()}{path}?ex={expires}&is={issued}&hm={self._sign(attachment.id, expires, issued)}&"

    def holds(self, attachment: int, query: Mapping[str, str]) -> bool:
        """Whether a link was made here and still works."""
        expires, issued = query.get("ex", ""), query.get("is", "")
        if not hmac.compare_digest(self._sign(attachment, expires, issued), query.get("hm", "")):
            return False
        return int(expires, 16) > self._clock.time()

    def _sign(self, attachment: int, expires: str, issued: str) -> str:
        return hmac.new(self._key, f"{attachment}:{expires}:{issued}".encode(), hashlib.sha256).hexdigest()
