"""The Redis rights of a node: its queue, its beat, the turns' streams; no other key and no administrative command."""

from app.wire import names


def node_user(node: str) -> str:
    """Return the name under which a node logs in to Redis."""
    return f"node-{node}"


def unacked_keys(node: str) -> dict[str, str]:
    """Return kombu's transport options that keep a node's unacknowledged messages apart from everyone else's."""
    prefix = f"unacked.{names.inference_queue(node)}"
    return {"unacked_key": prefix, "unacked_index_key": f"{prefix}.index", "unacked_mutex_key": f"{prefix}.mutex"}


def node_acl(node: str, password_sha256: str) -> str:
    """Return the line of an ACL file for `node`, whose password is given as a hex SHA-256."""
    queue = names.inference_queue(node)
    # A node may put tasks onto `turns` but not read or empty it; bindings are read and made by every Celery process.
    keys = [
        f"~{queue}",
        *(f"~{key}" for key in unacked_keys(node).values()),
        "~_kombu.binding*",
        f"~{names.node_key(node)}",
        "~ml:turn:*",
        "~ml:stream:*",
        f"%W~{names.TURNS}",
    ]
    channels = [f"&{names.node_control(node)}", "&ml:hub", "&ml:events:*", "&/*.celeryev/*"]
    commands = "-@all +@read +@write +@pubsub +@connection +@transaction +@scripting +info +time -@dangerous -@admin +info"
    return f"user {node_user(node)} on #{password_sha256} {' '.join(keys)} resetchannels {' '.join(channels)} {commands}"
