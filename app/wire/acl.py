"""The Redis rights of a node: its queue, its beat, the turns' streams; no other key and no administrative command."""

from app.wire import names
from app.wire.names import OF_NODES


def node_user(node: str) -> str:
    """Return the name under which a node logs in to Redis."""
    return f"node-{node}"


def unacked_keys(node: str) -> dict[str, str]:
    """Return where a node of an older version notes what it has taken, apart from everyone else's; newer ones do not."""
    prefix = f"unacked.{names.inference_queue(node)}"
    return {"unacked_key": prefix, "unacked_index_key": f"{prefix}.index", "unacked_mutex_key": f"{prefix}.mutex"}


def own_keys(node: str) -> list[str]:
    """Return the keys that nobody but a node writes into."""
    queue = names.inference_queue(node)
    return [queue, *unacked_keys(node).values(), *_bindings(queue), names.node_key(node), names.node_alive(node)]


def node_acl(node: str, password_sha256: str) -> str:
    """Return the line of an ACL file for `node`, whose password is given as a hex SHA-256."""
    queue, unacked = names.inference_queue(node), unacked_keys(node)
    # Scripts of its own could keep the whole server busy for ever: it calls the platform's functions, and of those only
    # the ones made for nodes. All else is named command by command: a single SETBIT far out fills the memory of everybody's
    # server, and a key of its own that is of another kind stops whoever reads all nodes'.
    functions = " ".join(f"+fcall|{name}" for name in OF_NODES)
    commands = (
        "+ping +hello +auth +select +quit +client|setname +client|setinfo +client|id +time +multi +exec +discard +unwatch "
        "+subscribe +unsubscribe " + functions
    )
    listens = f"&{names.node_control(node)} &ml:hub"
    own = {
        queue: "+brpop +rpop +lpush +rpush +llen +exists +del",
        unacked["unacked_key"]: "+hset +hget +hdel +hlen +watch +del",
        unacked["unacked_index_key"]: "+zadd +zrem +zrange +zcard +del",
        unacked["unacked_mutex_key"]: "+set +get +strlen +del",
        **dict.fromkeys(_bindings(queue), "+sadd +srem +smembers +scard +del"),
        names.node_key(node): "+hset +hget +expire +del",  # Read by the health check of its container.
        names.node_alive(node): "+hset +hget +expire",
    }
    selectors = [
        *(f"({may} ~{key})" for key, may in own.items()),
        # Turns: it reads whether it may go on, and adds to the stream; it takes nothing away there.
        "(+hmget %R~ml:turn:*)",
        "(+xadd +exists ~ml:stream:*)",
        # It hands in what it has done, and reads nothing of what lies there.
        f"(+lpush ~{names.NODES_INBOX})",
        # It speaks of turns, and of tasks to Flower; it hears of no other node's, not even which there are.
        "(+publish &ml:events:* &/*.celeryev/*)",
    ]
    return f"user {node_user(node)} on #{password_sha256} resetchannels {listens} {commands} {' '.join(selectors)}"


def _bindings(queue: str) -> tuple[str, str]:
    # Where kombu keeps which queues an exchange leads to; each of ours has the name of its only queue.
    return f"_kombu.binding.{queue}", f"_kombu.binding_permanent.{queue}"
