"""The stack's own Discord: a supervised sandbox with a bot for the platform and one for each node."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from app.local import http_probe, ports
from app.local.errors import LocalError
from app.local.home import Home, private_folder, write_private
from app.local.ports import Held
from app.local.program import SERVERS, Program, ours
from bots import permissions

NAME = "sandbox"
GUILD = "MeatLizard"
SERVER_BOT = "Server-Bot"
#: Bytes of randomness in a bot's token and in the one that opens the sandbox's page.
TOKEN_BYTES = 32


@dataclass(frozen=True)
class Sandbox:
    """What the sandbox's settings file says; `tokens` are those of the nodes' bots."""

    port: int
    control_token: str
    server_token: str
    tokens: dict[str, str]

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://{ports.LOOPBACK}:{self.port}"

    @property
    def api(self) -> str:
        """Where bots find it."""
        return f"{self.url}/api/v10"

    @property
    def way_in(self) -> str:
        """The page's address with the key to it."""
        return f"{self.url}/?token={self.control_token}"


def file(home: Home) -> Path:
    """Its settings: port, tokens, bots."""
    return home.path / "sandbox.json"


def load(home: Home) -> Sandbox | None:
    """Return what is set; None where no sandbox was ever made here."""
    try:
        found = json.loads(file(home).read_text(encoding="utf-8"))
        bots = {bot["name"]: bot["token"] for bot in found["bots"]}
        nodes = {name.partition(" ")[2]: token for name, token in bots.items() if name != SERVER_BOT}
        return Sandbox(int(found["port"]), found["control_token"], bots[SERVER_BOT], nodes)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise LocalError(f"{file(home)} cannot be read: move it and {_data(home)} away to begin a new sandbox") from None


def prepare(home: Home, nodes: list[str], held: Held) -> tuple[Sandbox, Program]:
    """Write its settings, tokens made once and the port taken in `held`; give the program that serves it."""
    known = load(home)
    port = known.port if known and held.take(known.port) else held.pick()
    bots = [_bot(SERVER_BOT, known.server_token if known else None, permissions.SERVER_BOT)]
    tokens = dict(known.tokens) if known else {}
    for node in nodes:
        tokens.setdefault(node, secrets.token_urlsafe(TOKEN_BYTES))
    bots += [_bot(_bot_name(node), token, permissions.CLIENT_BOT) for node, token in tokens.items()]
    private_folder(_data(home))
    settings = {
        "port": port,
        "state": str(_data(home) / "state.json"),
        "guild": GUILD,
        "control_token": known.control_token if known else secrets.token_urlsafe(TOKEN_BYTES),
        "bots": bots,
    }
    write_private(file(home), json.dumps(settings, indent=1) + "\n")
    found = load(home)
    assert found is not None
    return found, _program(home)


def answers(sandbox: Sandbox) -> None:
    """Returns when it answers; raises ServerDown otherwise."""
    http_probe.status(NAME, ports.LOOPBACK, sandbox.port, "/")


def _bot(name: str, token: str | None, may: dict[str, str]) -> dict[str, object]:
    return {
        "name": name,
        "token": token or secrets.token_urlsafe(TOKEN_BYTES),
        "permissions": permissions.integer(may),
        "redirects": ["http://127.0.0.1:*", "http://localhost:*"] if name == SERVER_BOT else [],
    }


def _bot_name(node: str) -> str:
    return f"Client-Bot {node}"


def _data(home: Home) -> Path:
    return home.data / NAME


def _program(home: Home) -> Program:
    program = ours(NAME, ["sandbox", "--config", str(file(home))], home)
    # It has no `--home`, and begins with the servers: the bots look for it at once.
    command = program.command[: program.command.index("--home")]
    return Program(name=NAME, command=command, group=SERVERS, start_seconds=1)
