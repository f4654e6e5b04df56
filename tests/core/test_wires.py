"""A connection whose other end is gone without a word is noticed by the kernel within seconds, in every process."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import celeryconfig
from app.core import plain, redis
from app.core.db import transaction
from app.wire import sockets
from tests.support.servers import Servers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Elsewhere these options have other names, or none.")


@contextmanager
def of(number: int) -> Iterator[socket.socket]:
    """The socket behind a file descriptor that somebody else owns."""
    found = socket.socket(fileno=number)
    try:
        yield found
    finally:
        found.detach()


def watched(number: int) -> dict[str, int]:
    with of(number) as found:
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        return {name: found.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names}


WANTED = {
    "TCP_KEEPIDLE": sockets.IDLE_SECONDS,
    "TCP_KEEPINTVL": sockets.PROBE_SECONDS,
    "TCP_KEEPCNT": sockets.PROBES,
    "TCP_USER_TIMEOUT": sockets.UNANSWERED_MS,
}


def test_postgresql(servers: Servers) -> None:
    with transaction() as tx:
        assert watched(tx.connection().connection.driver_connection.fileno()) == WANTED
    with plain.transaction() as cursor:
        assert watched(cursor.connection.fileno()) == WANTED


def test_redis(servers: Servers) -> None:
    connection = redis.client().connection_pool.get_connection()
    assert watched(connection._sock.fileno()) == WANTED
    with redis.blocking_client(1) as client:
        client.ping()
        assert watched(client.connection_pool.get_connection()._sock.fileno()) == WANTED


async def test_redis_on_the_loop(servers: Servers) -> None:
    for client in (redis.async_client(), redis.pubsub_client()):
        await client.ping()
        connection = await client.connection_pool.get_connection()
        assert watched(connection._writer.get_extra_info("socket").fileno()) == WANTED
        await client.aclose()


def test_the_broker() -> None:
    assert celeryconfig.broker_transport_options["socket_keepalive_options"] == sockets.OPTIONS
    assert {getattr(socket, name): value for name, value in WANTED.items()} == sockets.OPTIONS
