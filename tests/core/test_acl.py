"""A node's Redis user may do what its worker needs (tests/workers proves that) and nothing else."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from app.stream.scripts import APPEND
from app.wire import names
from app.wire.acl import node_user
from tests.support.servers import Servers

OTHER = "away"
FOREIGN_KEYS = [
    names.RING,
    names.WAITING,
    names.LEASES,
    names.NODES,
    names.RECENT,
    names.user_queue("u"),
    names.node_key(OTHER),
    names.node_leases("home"),
    names.node_leases(OTHER),
    names.turn_missing("t"),
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
    "RESTORE ml:turn:x 0 x",
    "PUBSUB NUMSUB x",
    "FCALL f 0",
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


def test_a_script_reaches_no_further_than_its_user(servers: Servers, node: Any) -> None:
    """Neither with keys that were not named, nor through one that the platform has loaded."""
    with servers.redis as admin:
        admin.set("anything", "secret")
        admin.script_load(APPEND)
    with pytest.raises(RedisError):
        node.eval("return redis.call('GET', 'anything')", 0)
    with pytest.raises(RedisError):
        node.eval("return redis.call('CONFIG', 'GET', '*')", 0)
    with pytest.raises(NoPermissionError):
        node.evalsha(hashlib.sha1(APPEND.encode()).hexdigest(), 2, "anything", "ml:stream:t", 1, "ml:events:t", 9, "x")


def test_runs_no_command_of_an_administrator(node: Any) -> None:
    for line in FORBIDDEN:
        with pytest.raises(RedisError, match=r"(?i)permission|unknown subcommand"):
            node.execute_command(*line.split())


def test_puts_outcomes_onto_turns_and_reads_none(node: Any) -> None:
    assert node.lpush(names.TURNS, "outcome") == 1
    for line in ("LRANGE {} 0 -1", "RPOP {}", "DEL {}", "UNLINK {}", "BRPOP {} 1", "LTRIM {} 1 0", "SET {} x", "LSET {} 0 x"):
        with pytest.raises(NoPermissionError):
            node.execute_command(*line.format(names.TURNS).split())
    assert node.lpush(names.TURNS, "outcome") == 2


def test_uses_what_is_its_own(node: Any) -> None:
    node.hset(names.node_key("home"), "state", "ready")
    node.lpush(names.inference_queue("home"), "x")
    assert node.brpop([names.inference_queue("home")], timeout=1)
    node.xadd(names.turn_stream("t"), {"e": "x"})
    assert node.hgetall(names.turn_meta("t")) == {}
    assert node.publish(names.turn_channel("t"), "x") == 0


@pytest.mark.parametrize("channel", [names.node_control("home"), names.turn_channel("t")])
def test_listens_to_its_own_channel(node: Any, channel: str) -> None:
    pubsub = node.pubsub()
    pubsub.subscribe(channel)
    assert pubsub.get_message(timeout=5)["type"] == "subscribe"
    pubsub.close()


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
