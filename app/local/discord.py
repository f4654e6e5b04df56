"""Which Discord a stack talks to, the one its owner named or a sandbox of its own, and who its bots are there."""

import json
import os
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from app.local import envfile, sandbox
from app.local.errors import LocalError, ServerDown
from app.local.home import Home, write_private
from app.wire.discord import API as DISCORD_API
from bots import permissions

NAME = "server-bot"
#: Seconds one question to Discord may take: whoever starts a stack without a network shall not wait for it long.
ASK_SECONDS = 4.0
#: The permission that has all others in it.
ADMINISTRATOR = 1 << 3


@dataclass(frozen=True)
class Named:
    """A Discord as it is set, before anybody asked there."""

    api: str
    token: str = field(repr=False)
    guild: int | None
    """None: the one guild that the bot is in, as in a sandbox."""
    node_tokens: dict[str, str] = field(repr=False)
    """By node: the token of its Client-Bot."""


@dataclass(frozen=True)
class Met:
    """Who is who there, by user id."""

    guild: int
    server_bot: int
    bots: dict[str, int]
    """By node: its Client-Bot."""


def named(home: Home, nodes: list[str]) -> Named | None:
    """The Discord that the environment or the settings file names; None where neither does."""
    token, guild = _setting(home, "DISCORD_TOKEN"), _setting(home, "DISCORD_GUILD")
    if not token and not guild:
        return None
    if not token or not guild.isdigit():
        raise LocalError(
            f"{envfile.PREFIX}DISCORD_TOKEN and {envfile.PREFIX}DISCORD_GUILD, a number, belong together: "
            f"set both, or neither for a sandbox"
        )
    tokens = [one.strip() for one in _setting(home, "DISCORD_NODE_TOKENS").split(",") if one.strip()]
    api = _setting(home, "DISCORD_API") or DISCORD_API
    return Named(api.rstrip("/"), token, int(guild), dict(zip(nodes, tokens, strict=False)))


def of_sandbox(own: sandbox.Sandbox) -> Named:
    """The same of the stack's own sandbox."""
    return Named(own.api, own.server_token, None, own.tokens)


def wants_sandbox(home: Home) -> bool:
    """Whether a sandbox is to stand in where no Discord is named."""
    return _setting(home, "SANDBOX").lower() != "off"


def meet(there: Named, nodes: list[str]) -> Met:
    """Ask who the bots are; raises ServerDown where Discord does not answer, LocalError where it refuses a token."""
    me = int(ask(there.api, there.token, "/users/@me")["id"])
    guild = there.guild
    if guild is None:
        guild = int(ask(there.api, there.token, "/users/@me/guilds")[0]["id"])
    bots = {
        node: int(ask(there.api, there.node_tokens[node], "/users/@me", node)["id"])
        for node in nodes
        if node in there.node_tokens
    }
    return Met(guild, me, bots)


def ask(api: str, token: str, path: str, node: str | None = None) -> Any:
    """What Discord answers a bot to a GET; `node` says whose bot it is, for the error."""
    # Loaded here: `status`, which is waited for, asks nobody.
    import http.client
    import urllib.error
    import urllib.request
    from importlib.metadata import version

    headers = {"Authorization": f"Bot {token}", "User-Agent": f"DiscordBot (meatlizard, {version('meatlizard')})"}
    request = urllib.request.Request(api + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=ASK_SECONDS) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED:
            raise LocalError(f"Discord refuses the token of {_whose(node)}: copy it anew from the developer portal") from None
        raise ServerDown("Discord", f"{path} says {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ServerDown("Discord", getattr(error, "reason", None) or error) from None


def file(home: Home) -> Path:
    """What the platform's processes of this start are told of it; they read it after the settings file."""
    return home.run / "discord.env"


def tell(home: Home, there: Named | None, guild: int | None) -> None:
    """Write it for the platform's processes; nothing where there is none."""
    if there is None or guild is None:
        file(home).unlink(missing_ok=True)
        return
    values = {"DISCORD_TOKEN": there.token, "DISCORD_GUILD": str(guild), "DISCORD_API": there.api}
    write_private(file(home), "".join(f"{envfile.PREFIX}{key}={value}\n" for key, value in values.items()))


def told(home: Home) -> dict[str, Any] | None:
    """Where the running stack's Discord is: `api`, `guild`, and for a sandbox its `page`; None where there is none."""
    values = envfile.read(file(home))
    if "DISCORD_GUILD" not in values:
        return None
    found: dict[str, Any] = {"api": values["DISCORD_API"], "guild": int(values["DISCORD_GUILD"])}
    own = sandbox.load(home)
    if own is not None and own.api == found["api"]:
        found["page"] = own.url
    return found


def missing(api: str, token: str, guild: int, needed: dict[str, str]) -> list[str]:
    """Which of these permissions a bot lacks in the guild; raises as `ask` does, LocalError where it is not in it."""
    here = [one for one in ask(api, token, "/users/@me/guilds") if int(one["id"]) == guild]
    if not here:
        raise LocalError(f"the bot is not in the server {guild}: invite it with the link that docs/discord.md makes")
    given = int(here[0]["permissions"])
    return [] if given & ADMINISTRATOR else [name for name in needed if not given & permissions.BITS[name]]


def _setting(home: Home, name: str) -> str:
    return (os.environ.get(envfile.PREFIX + name) or envfile.read(home.settings).get(name) or "").strip()


def _whose(node: str | None) -> str:
    return f"the node {node}'s bot" if node else f"the Server-Bot ({envfile.PREFIX}DISCORD_TOKEN)"
