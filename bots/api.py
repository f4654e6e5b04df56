"""Which Discord the bots talk to: the real one, or a sandbox that is reached by its address."""

from typing import Final

import yarl
from discord.asset import Asset
from discord.gateway import DiscordWebSocket
from discord.http import Route

from app.wire.discord import API

DISCORD: Final = API

# What discord.py itself starts with. It never asks GET /gateway: the address stands in a class attribute.
_GATEWAY: Final = yarl.URL("wss://gateway.discord.gg/")
_CDN: Final = "https://cdn.discordapp.com"


def use_api(base: str = DISCORD) -> None:
    """Point discord.py at the API under `base` (`http://host:port/api/v10`), before a client is made.

    Attachment links and the address to resume at come from the server; everything else follows from these three.
    """
    base = base.rstrip("/")
    Route.BASE = base
    if base == DISCORD:
        DiscordWebSocket.DEFAULT_GATEWAY = _GATEWAY
        Asset.BASE = _CDN
        return
    origin = yarl.URL(base).origin()
    DiscordWebSocket.DEFAULT_GATEWAY = origin.with_scheme("wss" if origin.scheme == "https" else "ws") / "gateway/"
    Asset.BASE = str(origin / "cdn")
