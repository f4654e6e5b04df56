"""How a node of another machine joins and leaves: its invitation, its rights in Redis, and their end."""

import hashlib
import secrets
from dataclasses import dataclass, field

import structlog
from redis.exceptions import ResponseError
from sqlalchemy import select

from app.core import keys, redis
from app.core.db import transaction
from app.core.models import Node, now
from app.services import audit, nodes
from app.wire import invitation, names
from app.wire.acl import node_acl, node_user, own_keys
from app.wire.errors import BadInput, NotFound
from app.wire.states import Door, Lane

log = structlog.get_logger(__name__)

PASSWORD_BYTES = 32
"""Of randomness in a node's password at Redis."""


@dataclass(frozen=True, slots=True)
class ClientBot:
    """A node's way to Discord: its own bot, the guild, and whom to listen to there."""

    token: str = field(repr=False)
    identity: int
    """Its user id."""
    guild: int
    server_bot: int
    api: str


def invite(name: str, slots: int, redis_address: str | None, bot: ClientBot | None, actor: str, door: Door) -> str:
    """Make a node known and return the line it joins with; a node that is invited again gets a new password.

    `redis_address` is the scheme, host and port under which the node reaches Redis; None leaves it the discord lane.
    """
    if redis_address is None and bot is None:
        raise BadInput("A node needs a lane: name Redis, or give it a bot in Discord.")
    nodes.register(name, slots, Lane.QUEUE.value if redis_address else Lane.DISCORD.value)
    settings = {"NODE": name, "NODE_KEYS": keys.node_keys(name), "SLOTS": str(slots)}
    digest = None
    if redis_address is not None:
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        digest = hashlib.sha256(password.encode()).hexdigest()
        scheme, _, place = redis_address.rpartition("://")
        settings["REDIS_URL"] = f"{scheme or 'redis'}://{node_user(name)}:{password}@{place}/0"
    if bot is not None:
        nodes.introduce(name, bot.identity)
        settings |= {
            "DISCORD_TOKEN": bot.token,
            "DISCORD_GUILD": str(bot.guild),
            "DISCORD_SERVER_BOT": str(bot.server_bot),
            "DISCORD_API": bot.api,
        }
    with transaction() as tx:
        node = tx.scalars(select(Node).where(Node.name == name)).one()
        node.redis_sha256 = digest
        audit.record(tx, actor, door, "node.invite", name, queue=redis_address is not None, discord=bot is not None)
    if digest is not None:
        _admit({name: digest})
    else:
        _shut_out(name)
    return invitation.dump(settings)


def admit_all() -> None:
    """Give every invited node its rights in Redis, which may have forgotten them."""
    with transaction() as tx:
        query = select(Node.name, Node.redis_sha256).where(Node.redis_sha256.is_not(None), Node.removed_at.is_(None))
        _admit({name: digest for name, digest in tx.execute(query) if digest is not None})


def remove(name: str, actor: str, door: Door) -> None:
    """Shut a node out for good; its name is not given again, since its keys follow from it."""
    with transaction() as tx:
        node = tx.scalar(select(Node).where(Node.name == name, Node.removed_at.is_(None)))
        if node is None:
            raise NotFound(f"There is no node {name!r}; `meatlizard node list` names them.")
        node.removed_at, node.redis_sha256, node.discord_id = now(), None, None
        audit.record(tx, actor, door, "node.remove", name)
    client = redis.client()
    client.srem(names.NODES, name)
    _shut_out(name)
    # Behind its end there: whatever it still writes before that goes with the rest.
    client.unlink(*own_keys(name))


def _admit(digests: dict[str, str]) -> None:
    client = redis.client()
    for name, digest in digests.items():
        # An ACL file's line is "user NAME rules..."; `reset` takes back what an earlier invitation gave.
        _, user, *rules = node_acl(name, digest).split()
        client.execute_command("ACL", "SETUSER", user, "reset", *rules)
    if digests:
        _save()


def _shut_out(name: str) -> None:
    client = redis.client()
    if client.execute_command("ACL", "DELUSER", node_user(name)):
        # Valkey closes the connections of a user that is deleted.
        _save()


def _save() -> None:
    try:
        redis.client().execute_command("ACL", "SAVE")
    except ResponseError as error:
        # A server without an ACL file; it is told again at each start.
        log.info("acl.unsaved", error=str(error))
