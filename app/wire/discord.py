"""Where Discord is."""

from typing import Final

API: Final = "https://discord.com/api/v10"
"""The real one; any other address is a sandbox's."""
