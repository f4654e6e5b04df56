"""The nodes that `up` runs on this machine: their names, their settings files, their processes."""

import os
import secrets
from pathlib import Path

from app.local import envfile, ports
from app.local.home import Home
from app.local.program import Program, ours
from app.local.settings import Settings
from app.wire.acl import node_user

#: Turns a node takes at once, and the context of each in tokens, unless said otherwise.
SLOTS = 2
CONTEXT = 4096

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


def write(home: Home, settings: Settings, name: str, model: Path | None) -> None:
    """Writes the node's file, or brings the address and the model in it up to date; its password stays."""
    path = file(home, name)
    known = envfile.read(path)
    password = known.get("REDIS_URL", "").partition("@")[0].rpartition(":")[2] or secrets.token_urlsafe(32)
    values = {
        "NODE": name,
        "REDIS_URL": f"redis://{node_user(name)}:{password}@{ports.LOOPBACK}:{settings.redis_port}/0",
    }
    values |= {key: value for key, value in (("SLOTS", str(SLOTS)), ("CTX_SIZE", str(CONTEXT))) if key not in known}
    if model is not None:
        values |= {"MODEL": str(model)}
        if "MODEL_NAME" not in known:
            values |= {"MODEL_NAME": model.stem}
    envfile.update(path, values, HEADING)


def give_keys(home: Home, name: str, keys: str) -> None:
    """Writes the node's relay keys into its file."""
    envfile.update(file(home, name), {"NODE_KEYS": keys}, HEADING)


def program(home: Home, name: str) -> Program:
    """The supervised process that is the node."""
    return ours(process_name(name), ["node", "--name", name], home)
