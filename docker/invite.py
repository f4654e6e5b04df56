"""Makes a node known to a platform in containers, and prints the settings that node starts with.

    docker compose -f docker/compose.platform.yml --env-file docker/platform.env exec -T web
        python - NAME [SLOTS] [HOST:PORT] < docker/invite.py > docker/node.env     (one line)

HOST:PORT is where the node reaches Valkey: `redis:6379` in the platform's own network (the default), `127.0.0.1:6379`
at the near end of a tunnel. A node that is invited again gets a new password; the old one ends.
"""

import sys

from app.core import redis
from app.services import joining
from app.wire import invitation
from app.wire.errors import MeatLizardError
from app.wire.states import Door


def invite(name: str, slots: int, address: str) -> list[str]:
    """Return the lines of the node's settings file."""
    line = joining.invite(name, slots, address, None, "docker", Door.CLI)
    return [f"MEATLIZARD_{key}={value}" for key, value in invitation.parse(line).items()]


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
