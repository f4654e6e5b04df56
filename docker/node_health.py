"""Asks the broker how the node in this container is, as the platform does: exit status 0, or one line that says why not."""

import os
import sys

from redis import Redis
from redis.exceptions import RedisError

from app.wire.names import node_key
from workers.inference.settings import load

SECONDS = 5


def main() -> None:
    """Look at the node's beat: it runs out within seconds when the node is gone or cannot reach the broker."""
    settings = load(os.environ["MEATLIZARD_NODE"])
    if settings.redis_url is None:
        return  # With Discord alone the platform hears the node there, and nobody else can be asked.
    client = Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=SECONDS)
    try:
        state = client.hget(node_key(settings.node), "state")
    except (RedisError, OSError) as error:
        sys.exit(f"the broker does not answer: {error}")
    # `draining` is a node that was told to stop; `failed` and `degraded` want a person.
    if state not in (b"ready", b"starting", b"draining"):
        sys.exit(f"the node is {state.decode() if isinstance(state, bytes) else 'away'}")


if __name__ == "__main__":
    main()
