"""Discord's clock, as far as it is known: this machine's own may be minutes off, and ages are Discord's to tell."""

import time
from datetime import UTC, datetime

from discord.utils import snowflake_time, time_snowflake


class DiscordClock:
    """Learns from the ids of messages, which say when Discord made them; never in the past of any of those."""

    def __init__(self) -> None:
        self._offset: float | None = None

    def note(self, message: int) -> None:
        """Take in a message that exists: it was made now or earlier."""
        seen = snowflake_time(message).timestamp() - time.time()
        self._offset = seen if self._offset is None else max(self._offset, seen)

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time() + (self._offset or 0.0)

    def age(self, message: int) -> float:
        """Return how many seconds ago a message was made."""
        return self.now() - snowflake_time(message).timestamp()

    def ago(self, seconds: float) -> int:
        """Return the id that a message of so many seconds ago would have had."""
        return time_snowflake(datetime.fromtimestamp(self.now() - seconds, UTC))
