"""Makes a node known to a platform in containers, and prints the settings that node starts with.

    docker compose -f docker/compose.platform.yml --env-file docker/platform.env exec -T web
        python - NAME [SLOTS] [HOST:PORT] < docker/invite.py > docker/node.env     (one line)

HOST:PORT is where the node reaches Valkey: `redis:6379` in the platform's own network (the default), `127.0.0.1:6379`
at the near end of a tunnel. A node that is invited again gets a new password; the old one ends.
"""

import hashlib
import secrets
import sys

from app.core import keys, redis
from app.services import nodes
from app.wire.acl import node_acl, node_user
from app.wire.errors import MeatLizardError


def invite(name: str, slots: int, address: str) -> list[str]:
    """Return the lines of the node's settings file."""
    nodes.register(name, slots)
    password = secrets.token_urlsafe(32)
    # An ACL file's line is "user NAME rules..."; `reset` takes back what an earlier invitation gave.
    _, user, *rules = node_acl(name, hashlib.sha256(password.encode()).hexdigest()).split()
    redis.client().execute_command("ACL", "SETUSER", user, "reset", *rules)
    redis.client().execute_command("ACL", "SAVE")
    return [
        f"MEATLIZARD_NODE={name}",
        f"MEATLIZARD_REDIS_URL=redis://{node_user(name)}:{password}@{address}/0",
        f"MEATLIZARD_NODE_KEYS={keys.node_keys(name)}",
        f"MEATLIZARD_SLOTS={slots}",
    ]


def main(arguments: list[str]) -> None:
    """Read the command line, invite, print."""
    if not arguments or len(arguments) > 3 or not all(slots.isdigit() for slots in arguments[1:2]):
        sys.exit("invite: say NAME, and if you like SLOTS and HOST:PORT")
    name, slots, address = [*arguments, *("2", "redis:6379")[len(arguments) - 1 :]]
    try:
        print("\n".join(invite(name, int(slots), address)))
    except (MeatLizardError, *redis.ERRORS) as error:
        sys.exit(f"invite: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
