"""By which ways an invited node will be reached, found out from what the stack knows of its Redis and its Discord."""

import json
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from app.core.config import settings
from app.local import discord, node, ports, sandbox
from app.local.home import Home
from app.services.joining import ClientBot
from app.wire.errors import BadInput
from bots import permissions

LANES = ("auto", "queue", "discord")
NO_BOT = "Give it a bot of its own with --discord-token (docs/discord.md has each step)."


@dataclass(frozen=True)
class Ways:
    """What the invitation will carry, and what the person who makes it should know."""

    redis: str | None
    bot: ClientBot | None
    notes: list[str] = field(default_factory=list)


def ways(name: str, lane: str, redis: str | None, token: str | None) -> Ways:
    """Return the ways of a lane; raise BadInput where it has none."""
    if lane not in LANES:
        raise BadInput(f"There is no lane {lane!r}: say {', '.join(LANES)}.")
    if node.file(Home.at(), name).exists():
        # Its password and its bot would be others from then on, and it would be shut out.
        raise BadInput(f"{name} is this machine's own node, which `meatlizard up` runs: choose another name.")
    notes: list[str] = []
    address = None if lane == "discord" else _checked(redis) if redis else _own_redis()
    if address is not None and _local(address):
        notes.append(f"{address} is this machine alone: elsewhere it needs a tunnel to it, or --lane discord.")
    elif address is not None and not address.startswith("rediss://"):
        notes.append(f"{address} is reached without TLS: let it be inside a tunnel or VPN, or say rediss://HOST:PORT.")
    bot = None if lane == "queue" else _bot(name, token)
    if bot is None and lane == "discord":
        raise BadInput(f"There is no way to reach the node. {NO_BOT}")
    if bot is None and lane == "auto":
        notes.append(f"It has the queue lane alone. {NO_BOT}")
    return Ways(address, bot, notes)


def _bot(name: str, token: str | None) -> ClientBot | None:
    known = settings()
    if not known.discord or known.discord_guild is None:
        if token:
            raise BadInput("The platform has no Discord: set MEATLIZARD_DISCORD_TOKEN and MEATLIZARD_DISCORD_GUILD first.")
        return None
    own = discord.told(Home.at()) or {}
    if not token and "page" in own:
        token = _made_in_sandbox(name)
    if not token:
        return None
    api = known.discord_api
    me = int(discord.ask(api, token, "/users/@me", name)["id"])
    server_bot = int(discord.ask(api, known.discord_token.get_secret_value(), "/users/@me")["id"])
    if me == server_bot:
        raise BadInput("This is the Server-Bot's own token: a node needs a bot of its own.")
    return ClientBot(token, me, known.discord_guild, server_bot, api)


def _made_in_sandbox(name: str) -> str:
    own = sandbox.load(Home.at())
    assert own is not None
    body = {"name": f"Client-Bot {name}", "permissions": permissions.integer(permissions.CLIENT_BOT)}
    request = urllib.request.Request(
        f"{own.url}/sandbox/bots",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {own.control_token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=discord.ASK_SECONDS) as response:
        return str(json.load(response)["token"])


def _checked(redis: str) -> str:
    """Return where the node shall reach Redis, as it was given; raise BadInput where that is no address."""
    parts = urlsplit(redis if "://" in redis else f"redis://{redis}")
    try:
        sound = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port and parts.netloc.count("@") == 0 and not parts.path
    except ValueError:  # Of a port that is none.
        sound = False
    if not sound:
        raise BadInput(f"{redis!r} is no address of a Redis: say HOST:PORT, or rediss://HOST:PORT.")
    return redis


def _own_redis() -> str:
    parts = urlsplit(settings().redis_url.get_secret_value())
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}"


def _local(address: str) -> bool:
    host = urlsplit(address if "://" in address else f"redis://{address}").hostname
    return host in (ports.LOOPBACK, "localhost", "::1")
