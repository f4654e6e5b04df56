"""What a start asks of the platform's own code, in a process of its own: migrate, first admin, known nodes.

`python -m app.local.platform` reads one request (JSON) from its input and answers one object. A process of its
own because the database layer is large and needed once: `up` stays small for as long as it watches, and the
import happens while the servers start.
"""

import json
import sys
from typing import Any

from app.core import keys, migrate
from app.core.config import settings
from app.services import accounts, joining, nodes, restore


def prepare(request: dict[str, Any]) -> dict[str, Any]:
    """Does all of it, each part safe to repeat; answers {"node_keys": {name: line}}."""
    # A restore that was killed has left the database shut.
    restore.reopen(restore.live_url())
    migrate.upgrade(settings().database_url.get_secret_value())
    accounts.ensure_admin(request["admin"]["name"], request["admin"]["password"])
    joining.admit_all()
    for node in request["nodes"]:
        nodes.register(node["name"], node["slots"], node["lane"])
        if node["discord_id"]:
            nodes.introduce(node["name"], node["discord_id"])
    return {"node_keys": {node["name"]: keys.node_keys(node["name"]) for node in request["nodes"]}}


def main() -> None:
    """Read the request, do it, answer."""
    request = json.load(sys.stdin)
    # The answer has an output of its own: what a library prints must not get into it.
    answer, sys.stdout = sys.stdout, sys.stderr
    json.dump(prepare(request), answer)


if __name__ == "__main__":
    main()
