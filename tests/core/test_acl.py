"""A node's Redis user may do what its worker needs (tests/workers proves that) and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from app.core import functions
from app.stream.scripts import SOURCE
from app.wire import names
from app.wire.acl import node_user
from tests.support.servers import Servers

OTHER = "away"
FOREIGN_KEYS = [
    names.RING,
    names.WAITING,
    names.LEASES,
    names.NODES,
    names.node_recent("home"),
    names.QUEUE_CHANGED,
    names.TURNS,
    names.node_alive(OTHER),
    names.user_queue("u"),
    names.node_key(OTHER),
    names.node_leases("home"),
    names.node_leases(OTHER),
    names.inference_queue(OTHER),
    names.inference_queue("homestead"),
    names.inference_queue("home-2"),
    f"unacked.{names.inference_queue(OTHER)}",
    f"unacked.{names.inference_queue('home-2')}",
    names.RELAY,
    names.STORAGE,
    names.METRICS,
    names.UPKEEP,
    "unacked",
    "unacked_index",
    "celery",
    "_kombu.binding.inference.away",
    "_kombu.binding.celery.pidbox",
    "anything",
]
FORBIDDEN = [
    "CONFIG GET *",
    "CONFIG SET maxmemory 1",
    "FLUSHALL",
    "FLUSHDB",
    "SWAPDB 0 1",
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "DBSIZE",
    "SAVE",
    "BGSAVE",
    "BGREWRITEAOF",
    "SHUTDOWN NOSAVE",
    "MONITOR",
    "SLOWLOG GET",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 1",
    "ACL LIST",
    "ACL WHOAMI_NOT",
    "ACL SETUSER x on nopass ~* +@all",
    "ACL GETUSER platform",
    "REPLICAOF 127.0.0.1 1",
    "MODULE LIST",
    "SCRIPT FLUSH",
    "FUNCTION FLUSH",
    "PUBSUB CHANNELS",
    "LATENCY RESET",
    "SORT anything",
    "MIGRATE 127.0.0.1 1 x 0 1",
    "RESTORE ml:stream:x 0 x",
    "PUBSUB NUMSUB x",
    "FCALL f 0",
    "FCALL ml_close 0 t 1 1 x",
    "FCALL ml_relay 0 t 1 1 anew 0 0 x",
    "FCALL ml_pick_all 0 60 1",
    "FCALL ml_enqueue 0 t u s 1 x 0 60 1 0 x",
    "FCALL_RO ml_append 0",
    "FUNCTION LIST",
    "FUNCTION DUMP",
    "SCRIPT LOAD x",
    "SCRIPT EXISTS x",
    "SCRIPT KILL",
    "EVALSHA 0 0",
    "EVAL_RO x 0",
    "CLIENT TRACKING on bcast",
    "CLIENT NO-EVICT on",
    "CLIENT REPLY off",
    "CLIENT UNBLOCK 1",
    "HSET ml:turn:t fence 9",
    "HDEL ml:turn:t closed",
    "DEL ml:turn:t",
    "HGETALL ml:turn:t",
    "EXPIRE ml:turn:t 0",
    "DEL ml:stream:t",
    "XDEL ml:stream:t 0-1",
    "XTRIM ml:stream:t MAXLEN 0",
    "EXPIRE ml:stream:t 0",
    "XRANGE ml:stream:t - +",
    "RENAME ml:stream:t ml:stream:u",
]


@pytest.fixture
def node(servers: Servers) -> Iterator[Any]:
    with Redis.from_url(servers.add_node("home")) as client:
        yield client


READING = ["GET", "TYPE", "LRANGE:0:-1", "HGETALL", "SMEMBERS", "ZRANGE:0:-1", "XRANGE:-:+", "DEL", "UNLINK", "DUMP", "EXISTS", "EXPIRE:1", "COPY:ml:turn:x"]


@pytest.mark.parametrize("key", FOREIGN_KEYS)
def test_reads_and_removes_nothing_foreign(node: Any, key: str) -> None:
    for line in READING:
        command, _, more = line.partition(":")
        arguments = [more] if command == "COPY" else more.split(":") if more else []
        with pytest.raises(NoPermissionError):
            node.execute_command(command, key, *arguments)


@pytest.mark.parametrize("key", FOREIGN_KEYS)
def test_writes_nothing_foreign(node: Any, key: str) -> None:
    for words in (("LPUSH", key, "x"), ("SET", key, "x"), ("HSET", key, "f", "x"), ("RENAME", "ml:turn:t", key)):
        with pytest.raises(NoPermissionError):
            node.execute_command(*words)
    with pytest.raises(NoPermissionError):
        node.eval("return redis.call('SET', KEYS[1], 'x')", 1, key)


@pytest.mark.parametrize("script", ["while true do end", "return redis.call('GET', 'anything')", "return 1"])
def test_brings_no_script_of_its_own(node: Any, script: str) -> None:
    """Not even a harmless one: one that never ends would keep everyone out of Redis."""
    with pytest.raises(NoPermissionError):
        node.eval(script, 0)
    with pytest.raises(NoPermissionError):
        node.function_load("#!lua name=mlstream\nredis.register_function('ml_append', function() while true do end end)", replace=True)


def test_a_function_reaches_no_further_than_its_user(servers: Servers, node: Any) -> None:
    functions.load()
    with servers.redis as admin:
        admin.hset(names.turn_meta("t"), mapping={"fence": 1, "node": OTHER})
        with pytest.raises(RedisError, match=r"(?i)permission"):
            node.fcall(names.APPEND, 0, "t", OTHER, 1, 0, "a word in another's name")
        assert not admin.exists(names.turn_stream("t"))
        assert not admin.exists(names.node_alive(OTHER))
        assert node.fcall(names.APPEND, 0, "t", "home", 1, 0, "in its own") == b"stale"
    assert set(names.OF_NODES) == {names.APPEND, names.BEGIN}
    assert all(f"'{name}'" in SOURCE for name in names.OF_NODES)


def test_the_fence_is_read_and_never_written(servers: Servers, node: Any) -> None:
    functions.load()
    with servers.redis as admin:
        admin.hset(names.turn_meta("t"), mapping={"fence": 1, "node": "home"})
        before = admin.hgetall(names.turn_meta("t"))
        assert node.fcall(names.BEGIN, 0, "t", "home", 1, 0, 1000, 60) == b"go"
        assert node.fcall(names.APPEND, 0, "t", "home", 1, 0, "x") == b"go"
        assert node.fcall(names.APPEND, 0, "t", "home", 2, 1, "x") == b"stale"
        assert admin.hgetall(names.turn_meta("t")) == before


def test_runs_no_command_of_an_administrator(node: Any) -> None:
    for line in FORBIDDEN:
        with pytest.raises(RedisError, match=r"(?i)permission|unknown subcommand"):
            node.execute_command(*line.split())


def test_hands_in_outcomes_and_reads_none(node: Any) -> None:
    assert node.lpush(names.NODES_INBOX, "outcome") == 1
    for line in ("LRANGE {} 0 -1", "RPOP {}", "DEL {}", "UNLINK {}", "BRPOP {} 1", "LTRIM {} 1 0", "SET {} x", "LSET {} 0 x", "LLEN {}"):
        with pytest.raises(NoPermissionError):
            node.execute_command(*line.format(names.NODES_INBOX).split())
    assert node.lpush(names.NODES_INBOX, "outcome") == 2


@pytest.mark.parametrize("queue", [names.TURNS, names.RELAY, names.STORAGE, names.METRICS, names.UPKEEP])
def test_sends_no_task_to_the_platform(node: Any, queue: str) -> None:
    """A message of Celery's may name any task to follow it, on any queue: none is taken from a node at all."""
    with pytest.raises(NoPermissionError):
        node.lpush(queue, "task")


def test_uses_what_is_its_own(node: Any) -> None:
    node.hset(names.node_key("home"), "state", "ready")
    node.lpush(names.inference_queue("home"), "x")
    assert node.brpop([names.inference_queue("home")], timeout=1)
    node.xadd(names.turn_stream("t"), {"e": "x"})
    assert node.hmget(names.turn_meta("t"), "fence") == [None]
    assert node.publish(names.turn_channel("t"), "x") == 0


def test_listens_to_its_own_channel(node: Any) -> None:
    pubsub = node.pubsub()
    pubsub.subscribe(names.node_control("home"))
    assert pubsub.get_message(timeout=5)["type"] == "subscribe"
    pubsub.close()


@pytest.mark.parametrize("channel", [names.turn_channel("t"), names.turn_channel("*"), "/0.celeryev/worker.*"])
def test_hears_nothing_of_what_others_write(node: Any, channel: str) -> None:
    """Sealed it is; but a turn's id is what tells which stream to spoil."""
    assert node.publish(names.turn_channel("t"), "x") == 0
    for command in ("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"):
        pubsub = node.pubsub()
        pubsub.execute_command(command, channel)
        with pytest.raises(NoPermissionError):
            pubsub.parse_response()
        pubsub.close()


@pytest.mark.parametrize(
    "line",
    [
        f"SETBIT {names.inference_queue('home')} 4294967295 1",
        f"SETRANGE unacked.{names.inference_queue('home')}.mutex 536870000 x",
        f"BITFIELD {names.node_key('home')} SET u8 4294967280 1",
        f"APPEND {names.node_key('home')} x",
        f"SET {names.node_key('home')} x",
        f"SET {names.node_alive('home')} x",
        f"LPUSH {names.node_key('home')} x",
        f"SADD {names.node_alive('home')} x",
        f"HSET {names.inference_queue('home')} f x",
        f"SET {names.inference_queue('home')} x",
        f"RENAME {names.inference_queue('home')} {names.node_key('home')}",
        f"COPY {names.inference_queue('home')} {names.node_key('home')}",
        f"LMOVE {names.inference_queue('home')} {names.NODES_INBOX} LEFT LEFT",
        f"PERSIST {names.node_key('home')}",
        "PUBLISH ml:hub x",
        f"PUBLISH {names.node_control('home')} x",
    ],
)
def test_each_key_of_its_own_stays_what_it_is(node: Any, line: str) -> None:
    """One that is of another kind would stop whoever reads all nodes', and one bit far out takes 512 MB of everybody's."""
    with pytest.raises(NoPermissionError):
        node.execute_command(*line.split())


@pytest.mark.parametrize("channel", [names.node_control(OTHER), names.session_channel("s"), "/0.celery.pidbox", "*", "__keyspace@0__:x"])
def test_listens_to_and_speaks_on_no_other_channel(node: Any, channel: str) -> None:
    with pytest.raises(NoPermissionError):
        node.publish(channel, "x")
    for command in ("SUBSCRIBE", "PSUBSCRIBE"):
        pubsub = node.pubsub()
        pubsub.execute_command(command, channel)
        with pytest.raises(NoPermissionError):
            pubsub.parse_response()
        pubsub.close()


def test_nobody_gets_in_without_a_password(servers: Servers, node: Any) -> None:
    port = servers.settings.redis_port
    for url in (
        f"redis://127.0.0.1:{port}/0",
        f"redis://{node_user('home')}:wrong@127.0.0.1:{port}/0",
        f"redis://{node_user('nobody')}:@127.0.0.1:{port}/0",
    ):
        with pytest.raises((AuthenticationError, RedisError), match=r"(?i)auth|password"), Redis.from_url(url) as client:
            client.ping()
