"""The Redis rights of a node: its queue, its beat, the turns' streams; no other key and no administrative command."""

from app.wire import names
from app.wire.names import OF_NODES


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
    keys = [
        f"~{queue}",
        *(f"~{key}" for key in unacked_keys(node).values()),
        *(f"~{key}" for key in _bindings(queue)),
        f"~{names.node_key(node)}",
        f"~{names.node_alive(node)}",
    ]
    channels = [f"&{names.node_control(node)}", "&ml:hub", "&ml:events:*", "&/*.celeryev/*"]
    # Scripts of its own could keep the whole server busy for ever: it calls the platform's functions, and of those only
    # the ones made for nodes. What would show the names of foreign keys and channels, follow what others read or harm
    # others without naming a key is taken out again.
    functions = " ".join(f"+fcall|{name}" for name in OF_NODES)
    commands = (
        "-@all +@read +@write +@pubsub +@connection +@transaction +time +info -@scripting -@dangerous -@admin "
        "-scan -randomkey -dbsize -pubsub -client +client|setname +client|setinfo +client|id " + functions
    )
    others = (
        # Turns: it reads whether it may go on, and adds to the stream; it takes nothing away there.
        "(-@all +hmget %R~ml:turn:*)",
        "(-@all +xadd +exists ~ml:stream:*)",
        # It hands in what it has done, and reads nothing of what lies there.
        f"(-@all +lpush ~{names.NODES_INBOX})",
    )
    rights = f"{' '.join(keys)} resetchannels {' '.join(channels)} {commands} {' '.join(others)}"
    return f"user {node_user(node)} on #{password_sha256} {rights}"


def _bindings(queue: str) -> tuple[str, str]:
    # Where kombu keeps which queues an exchange leads to; each of ours has the name of its only queue.
    return f"_kombu.binding.{queue}", f"_kombu.binding_permanent.{queue}"
