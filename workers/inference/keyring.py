"""The relay keys a node holds: those of its settings, until the platform has handed over newer ones."""

import hashlib
import os
from pathlib import Path

import orjson
import structlog

from app.wire.envelope import NodeKeys
from workers.inference.settings import NodeSettings, home

log = structlog.get_logger(__name__)


def file(node: str) -> Path:
    """Return where a node keeps the keys it was handed."""
    return home() / "nodes" / f"{node}.keys"


def load(settings: NodeSettings) -> NodeKeys:
    """Return the newest keys that this node was given; an invitation newer than they are wins over them."""
    given = settings.node_keys.get_secret_value()
    try:
        kept = orjson.loads(file(settings.node).read_bytes())
        if kept["after"] == _mark(given):
            return NodeKeys.parse(kept["keys"])
    except FileNotFoundError:
        pass
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        log.warning("keys.unread", file=str(file(settings.node)), error=str(error))
    return NodeKeys.parse(given)


def keep(settings: NodeSettings, keys: NodeKeys) -> None:
    """Write the keys down at one stroke, for the next start; nobody else can read them."""
    path = file(settings.node)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    body = {"after": _mark(settings.node_keys.get_secret_value()), "keys": keys.dump()}
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(orjson.dumps(body))
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)


def _mark(given: str) -> str:
    return hashlib.sha256(b"meatlizard/given" + given.encode()).hexdigest()[:16]
