"""The node's process: one engine, and a door for each lane that its settings name, the broker, Discord, or both."""

import signal
import threading
from typing import TYPE_CHECKING

from app import logs
from app.wire.errors import BadInput
from bots.client.config import ClientSettings
from bots.client.config import load as load_client
from workers.inference.node import Node
from workers.inference.settings import NodeSettings, file, home, load

if TYPE_CHECKING:
    from bots.client.door import DiscordDoor


def run(name: str) -> None:
    """Answer prompts until SIGTERM."""
    settings, client = load(name), load_client(file(name))
    if settings.redis_url is not None:
        # Imported here because Celery and Redis are nothing that a node with Discord alone should load, or even have.
        from workers.inference import process

        # Celery owns the process: its pool starts and stops between the node's own beginning and end.
        process.run(name, lambda node: _discord(node, client))
    elif client is not None:
        _alone(settings, client)
    else:
        raise BadInput(
            f"The node {name} has no lane: set MEATLIZARD_REDIS_URL or MEATLIZARD_DISCORD_TOKEN in {file(name)}, "
            "run `meatlizard up` first, or name the stack with --home."
        )


def _discord(node: Node, client: ClientSettings | None) -> "DiscordDoor | None":
    if client is None:
        return None
    # Imported here: a node with the queue lane alone is 10 MB smaller without Discord's library.
    from bots.client.door import DiscordDoor

    settings = node.settings
    memory = home() / "run" / f"{settings.node}.discord.json"
    return DiscordDoor(node, client, settings.node, node.keys, memory)


def _alone(settings: NodeSettings, client: ClientSettings) -> None:
    logs.configure(f"node {settings.node}", settings.log_level, settings.log_format)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    node = Node(settings)
    door = _discord(node, client)
    assert door is not None
    node.add(door)
    node.start()
    over.wait()
    node.stop()
