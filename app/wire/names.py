"""Every task, queue, Redis key, channel and lifetime, so that both ends of a wire read the same word."""

import re
from typing import Final

# Queues. `inference.<node>` is made by `inference_queue`.
RELAY: Final = "relay"
TURNS: Final = "turns"
STORAGE: Final = "storage"
METRICS: Final = "metrics"
UPKEEP: Final = "upkeep"
NODES_INBOX: Final = "nodes"
"""Where nodes hand in what the platform shall do: a list of messages of our own making, no queue of Celery's."""
PLATFORM_QUEUES: Final = (TURNS, STORAGE, METRICS, UPKEEP)
"""What `meatlizard worker` consumes."""

NODE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
"""What a node may be called: its name is part of queue names, Redis keys and file names."""

# Tasks, by the queue that carries them.
OPEN_SESSION: Final = "relay.open_session"
CLOSE_SESSION: Final = "relay.close_session"
POST_PROMPT: Final = "relay.post_prompt"
POST_CONTROL: Final = "relay.post_control"
POST_MIRROR: Final = "relay.post_mirror"
SHOW_CHANNELS: Final = "relay.show_channels"
GENERATE: Final = "inference.generate"
FINISH: Final = "turns.finish"
DISPATCH: Final = "turns.dispatch"
SWEEP: Final = "turns.sweep"
LOG_METRICS: Final = "metrics.log"
SAMPLE_METRICS: Final = "metrics.sample"
ROLL_UP_METRICS: Final = "metrics.roll_up"
KEEP_METRICS: Final = "metrics.keep"
UPLOAD_TRANSCRIPT: Final = "storage.upload_transcript"
SWEEP_STORAGE: Final = "storage.sweep"
TAKE_BACKUP: Final = "storage.take_backup"
SCHEDULED_BACKUP: Final = "storage.scheduled_backup"
EXPIRE_LOGINS: Final = "upkeep.expire_logins"
FORGET_CONVERSATIONS: Final = "upkeep.forget_conversations"
RESEAL: Final = "upkeep.reseal"
ERASE: Final = "upkeep.erase"
SWEEP_ERASURES: Final = "upkeep.sweep_erasures"

QUEUE_OF: Final = {
    OPEN_SESSION: RELAY,
    CLOSE_SESSION: RELAY,
    POST_PROMPT: RELAY,
    POST_CONTROL: RELAY,
    POST_MIRROR: RELAY,
    SHOW_CHANNELS: RELAY,
    FINISH: TURNS,
    DISPATCH: TURNS,
    SWEEP: TURNS,
    LOG_METRICS: METRICS,
    SAMPLE_METRICS: METRICS,
    ROLL_UP_METRICS: METRICS,
    KEEP_METRICS: METRICS,
    UPLOAD_TRANSCRIPT: STORAGE,
    SWEEP_STORAGE: STORAGE,
    TAKE_BACKUP: STORAGE,
    SCHEDULED_BACKUP: STORAGE,
    EXPIRE_LOGINS: UPKEEP,
    FORGET_CONVERSATIONS: UPKEEP,
    RESEAL: UPKEEP,
    ERASE: UPKEEP,
    SWEEP_ERASURES: UPKEEP,
}
"""The queue of each task that any process may send; `GENERATE` goes to the queue of its node."""

# Lifetimes.
LEASE_SECONDS: Final = 10
"""A queue-lane attempt whose node has said nothing for so long is given to another."""
LEASE_GOOD_SECONDS: Final = 120
"""A task that comes to its node later than this after its lease was overtaken by another attempt, or is a ghost."""
RENEW_SECONDS: Final = 3
"""How often a node renews the leases of turns that have nothing to say: three chances before one runs out."""
BEAT_SECONDS: Final = 3
NODE_TTL_SECONDS: Final = 12
"""A node that has missed four beats is not given turns any more."""
STREAM_TTL_SECONDS: Final = 3600
"""How long a running turn's stream outlives its last event."""
CLOSED_TTL_SECONDS: Final = 900
"""How long a closed turn's stream stays for those who come back late; PostgreSQL answers after that."""
DISCORD_NODE_TTL_SECONDS: Final = 60
"""A node of the discord lane says HELLO every 30 seconds; one that has missed two is not given turns any more."""
SERVER_BOT_TTL_SECONDS: Final = 15
"""The Server-Bot says every five seconds that it is connected."""
OPEN_AFTER_SECONDS: Final = 3
"""A session's channel is opened so long after the session: its first prompt comes with it, and has the machine to itself.
What speaks in the channel sooner, a prompt of the discord lane or a mirror, opens it."""
MIRROR_GOOD_SECONDS: Final = 3600
"""A mirror that could not be posted for so long is left out: the turn is in PostgreSQL anyhow."""
SWEEP_SECONDS: Final = 3
"""A node that died is noticed so long after its lease at the latest: the reply goes on within fifteen seconds."""
SWITCH_SECONDS: Final = 0.0005
"""How long a thread that computes may keep its process's others waiting. Python's own 5 ms are paid after every answer that
a thread waited for: ten of those make 50 ms, in which nobody sees a word."""
ERASURE_SECONDS: Final = 15
"""How often deletions that were cut off are taken up again: a person is gone within a minute."""
LOG_SECONDS: Final = 5
"""How often the figures that wait in Redis are written into PostgreSQL."""
SAMPLE_SECONDS: Final = 30
ROLL_UP_SECONDS: Final = 60
STORAGE_SWEEP_SECONDS: Final = 300
"""How often idle sessions, lost uploads, what is too old and half a backup are looked for."""
PROCESS_SECONDS: Final = 10
"""How often a process says that it lives."""
PROCESS_TTL_SECONDS: Final = 35
"""One that has missed three of these is gone."""
MAX_ATTEMPTS: Final = 3
ENVELOPE_MAX_AGE_SECONDS: Final = 3600
"""An older sealed job or outcome is refused as a replay; longer than the longest turn and a broker outage together."""

# Functions that live in Redis; the others are the platform's own affair.
APPEND: Final = "ml_append"
BEGIN: Final = "ml_begin"
OF_NODES: Final = (APPEND, BEGIN)
"""What a node may call. Its own rights hold inside a function too, so these read the platform's word and write the node's."""

# Redis keys. Everything the platform keeps begins with `ml:`; Celery's own keys have their own names.
RING: Final = "ml:queue:ring"
"""List of users who wait, next one first."""
WAITING: Final = "ml:queue:waiting"
"""Set of the turns that wait, so that a turn is queued once however often it is asked for."""
LEASES: Final = "ml:leases"
"""Sorted set of leased turns by the time of their lease, in milliseconds of Redis' clock."""
NODES: Final = "ml:nodes"
"""Set of the nodes that are known; written by the platform, rebuilt from PostgreSQL."""
REFUSED: Final = "ml:relay:refused"
"""Hash that counts, by reason, the messages in Discord that were not believed."""
SERVER_BOT: Final = "ml:relay:server-bot"
"""Hash with what the Server-Bot says of itself while it is connected; it runs out when it is not."""
LAYOUT: Final = "ml:relay:layout"
"""Lock under which the guild's channels are made and removed: two Server-Bots at once would make each twice."""
FIGURES: Final = "ml:figures"
"""Stream of the figures that are not in PostgreSQL yet."""
DRAINING: Final = "ml:nodes:draining"
"""Set of the nodes that are given no more turns; written by the platform, rebuilt from PostgreSQL."""
PROCESS: Final = "ml:process:"
"""Begins the key under which a process of the platform says that it lives."""
QUEUE_CHANGED: Final = "ml:queue:changed"
"""List with one entry while the places of those who wait may not be what they were told."""

LOGINS: Final = "ml:logins"
"""Pub/Sub channel that tells every web process whose logins or tokens ended, or `*` for everybody's."""
LIMITS: Final = "ml:limits"
"""Prefix of the counters of prompts."""
TRIES: Final = "ml:tries"
"""What the keys begin with that count tries to sign in."""
PLACE_SECONDS: Final = 90 * 86_400
"""How long a place stays known from which somebody signed in: longer than a login lasts, and than people are away."""
SIGN_IN_SECONDS: Final = 600
"""How long signing in at another provider may take, from the button to the way back."""


def login(digest: str) -> str:
    """Return the sealed answer to whose login a cookie's hash is; it lives for a minute and is then looked up anew."""
    return f"ml:login:{digest}"


def known_place(digest: str) -> str:
    """Return what is there while somebody is known to sign in from a place; of both only a hash."""
    return f"ml:place:{digest}"


def sign_in(state: str) -> str:
    """Return what is remembered, sealed, while somebody signs in at another provider."""
    return f"ml:sign-in:{state}"


def process_key(process: str, host: str, pid: int) -> str:
    """Return where a process says that it lives, and what it uses."""
    return f"{PROCESS}{process}:{host}:{pid}"


def inference_queue(node: str) -> str:
    """Return the Celery queue that only `node` consumes."""
    return f"inference.{node}"


def user_queue(user: str) -> str:
    """Return the list of a user's waiting turns, next one first."""
    return f"ml:queue:user:{user}"


def turn_meta(turn: str) -> str:
    """Return the hash that holds a turn's fence, node and stop mark; only the platform writes there."""
    return f"ml:turn:{turn}"


def node_alive(node: str) -> str:
    """Return the hash in which a node marks its turns' signs of life: `attempt milliseconds` by turn; only it writes there."""
    return f"ml:alive:{node}"


def node_recent(node: str) -> str:
    """Return the list of how long a node's latest turns took, in milliseconds, newest first: what an ETA is made of."""
    return f"ml:recent:{node}"


def turn_stream(turn: str) -> str:
    """Return the Redis Stream of a turn's events."""
    return f"ml:stream:{turn}"


def turn_channel(turn: str) -> str:
    """Return the Pub/Sub channel on which a turn's events go out live."""
    return f"ml:events:{turn}"


def node_key(node: str) -> str:
    """Return the hash a node writes its beat to; it runs out when the node is gone."""
    return f"ml:node:{node}"


def node_leases(node: str) -> str:
    """Return the set of turns leased to a node; its size is how many slots are taken."""
    return f"ml:leased:{node}"


def node_control(node: str) -> str:
    """Return the Pub/Sub channel on which a node hears `stop` at once."""
    return f"ml:control:{node}"


SESSION_GONE: Final = "gone"
"""What is told on a session's channel, where else a turn's id is, when it was deleted."""


def session_channel(session: str) -> str:
    """Return the Pub/Sub channel that tells a session's open pages of new turns, and of its end."""
    return f"ml:session:{session}"


def discord_answer(turn: str) -> str:
    """Return the lock of whoever shows a turn's reply in Discord: two Server-Bots at once would show it twice."""
    return f"ml:discord:answer:{turn}"


def node_refused(node: str) -> str:
    """Return the hash of how many messages a node has refused, by reason, as it last said."""
    return f"ml:relay:refused:{node}"


def audited(reason: str, author: int, channel: int) -> str:
    """Return the mark that keeps a flood of refused messages from flooding the audit trail."""
    return f"ml:relay:audited:{reason}:{author}:{channel}"


def envelope_seen(mark: str) -> str:
    """Return where the message is noted in which an envelope stood first: in any other one it is a copy."""
    return f"ml:relay:seen:{mark}"


def open_pages(whose: str) -> str:
    """Return the sorted set of the chat pages that somebody, or an address, has open."""
    return f"ml:pages:{whose}"


def turns_at_once(whose: str) -> str:
    """Return the sorted set of the turns that wait or run for a person, a token or an address."""
    return f"ml:turns:{whose}"


def counted_for(session: str, client: str) -> str:
    """Return the hash that says for whom a turn is counted, by its session and the id that its sender gave it."""
    return f"ml:tries:{session}:{client}"


def left_behind(turn: str) -> str:
    """Return whose a turn was that was deleted while a node wrote: what it took is still to be counted."""
    return f"ml:left:{turn}"


def tokens_used(user: str, day: str) -> str:
    """Return the counter of what a user's turns took on a day."""
    return f"ml:used:{user}:{day}"
