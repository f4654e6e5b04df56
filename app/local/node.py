"""The nodes that `up` runs on this machine: their names, their settings files, their processes."""

import os
import secrets
from pathlib import Path

from app.local import envfile, ports
from app.local.discord import Met, Named
from app.local.home import Home
from app.local.program import Program, ours
from app.local.settings import Settings
from app.wire.acl import node_user

#: Turns a node takes at once, and the context of each in tokens, unless said otherwise.
SLOTS = 2
CONTEXT = 4096
#: What a node's file says of its Client-Bot.
DISCORD_LINES = ["DISCORD_TOKEN", "DISCORD_GUILD", "DISCORD_SERVER_BOT", "DISCORD_API"]

HEADING = """\
Settings of one node, written by `meatlizard up`. Keep this file private: it holds the node's keys.
May be added (see docs): MEATLIZARD_NGL, MEATLIZARD_LLAMA_URL, MEATLIZARD_LLAMA_SERVER, MEATLIZARD_HANG_SECONDS
"""


def names(count: int) -> list[str]:
    """Their names: home, home-2, home-3 and so on."""
    return ["home" if number == 1 else f"home-{number}" for number in range(1, count + 1)]


def process_name(node: str) -> str:
    """What supervisor and status call its process: node, node-2 and so on."""
    return node.replace("home", "node", 1)


def engine_name(node: str) -> str:
    """What status calls its engine: llama.cpp, llama.cpp-2 and so on."""
    return node.replace("home", "llama.cpp", 1)


def file(home: Home, name: str) -> Path:
    """The settings file of the node."""
    return home.nodes / f"{name}.env"


def slots(home: Home, name: str) -> int:
    """As the node will read it: the environment wins over its file."""
    given = os.environ.get(envfile.PREFIX + "SLOTS") or envfile.read(file(home, name)).get("SLOTS") or str(SLOTS)
    return int(given) if given.isdigit() else SLOTS


def write(home: Home, settings: Settings, name: str, model: Path | None, lane: str) -> None:
    """Writes the node's file, or brings the addresses and the model in it up to date; its password stays.

    On the lane `discord` it is told of no Redis, and has no user there.
    """
    path = file(home, name)
    known = envfile.read(path)
    password = known.get("REDIS_URL", "").partition("@")[0].rpartition(":")[2] or secrets.token_urlsafe(32)
    values = {"NODE": name}
    if lane == "discord":
        envfile.remove(path, ["REDIS_URL"])
    else:
        values["REDIS_URL"] = f"redis://{node_user(name)}:{password}@{ports.LOOPBACK}:{settings.redis_port}/0"
    values |= {key: value for key, value in (("SLOTS", str(SLOTS)), ("CTX_SIZE", str(CONTEXT))) if key not in known}
    # A name that a person wrote stays; one that was made of the file's goes with the file.
    made = known.get("MODEL_NAME", "") in ("", Path(known.get("MODEL", "")).stem)
    if model is not None:
        values |= {"MODEL": str(model)} | ({"MODEL_NAME": model.stem} if made else {})
    elif made:
        envfile.remove(path, ["MODEL", "MODEL_NAME"])
    envfile.update(path, values, HEADING)


def give_discord(home: Home, name: str, there: Named | None, met: Met | None) -> None:
    """Writes what its Client-Bot needs into the node's file, or takes it out; unasked, what stands there may stay."""
    if there is None or name not in there.node_tokens:
        envfile.remove(file(home, name), DISCORD_LINES)
        return
    token, known = there.node_tokens[name], envfile.read(file(home, name))
    if met is not None:
        values = (token, str(met.guild), str(met.server_bot), there.api)
        envfile.update(file(home, name), dict(zip(DISCORD_LINES, values, strict=True)), HEADING)
    elif (known.get("DISCORD_TOKEN"), known.get("DISCORD_API")) != (token, there.api):
        # Another bot's, or another Discord's.
        envfile.remove(file(home, name), DISCORD_LINES)


def give_keys(home: Home, name: str, keys: str) -> None:
    """Writes the node's relay keys into its file."""
    envfile.update(file(home, name), {"NODE_KEYS": keys}, HEADING)


def program(home: Home, name: str) -> Program:
    """The supervised process that is the node."""
    return ours(process_name(name), ["node", "--name", name], home)
