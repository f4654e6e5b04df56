"""The few questions to Valkey that `status`, `up` and `doctor` ask: answered whole, and what is wrong is said."""

from dataclasses import replace

import hiredis
import pytest

from app.local import resp, valkey
from app.local.errors import ServerDown
from app.local.settings import ROLE
from app.wire import names
from tests.support.servers import Servers


def test_answers_come_in_the_order_of_the_questions_however_long(servers: Servers) -> None:
    long, known = "x" * 300_000, servers.settings
    answers = resp.asked(
        known.redis_port, ROLE, known.redis_password, ("SET", "long", long), ("GET", "long"), ("GET", "none"), ("STRLEN", "long")
    )
    assert answers == ["OK", long, None, 300_000]


def test_what_is_not_text_is_read_all_the_same(servers: Servers) -> None:
    servers.redis.hset(names.node_key("odd"), "model", b"\xff\xfe")
    servers.redis.sadd(names.NODES, "odd")
    [node] = valkey.nodes(servers.settings)
    assert (node.name, node.said, node.busy, node.draining) == ("odd", {"model": "\ufffd\ufffd"}, 0, False)


def test_who_refuses_says_why(servers: Servers) -> None:
    with pytest.raises(hiredis.HiredisError, match="WRONGPASS"):
        resp.asked(servers.settings.redis_port, ROLE, "wrong", ("PING",))
    with pytest.raises(hiredis.HiredisError, match="unknown command"):
        resp.asked(servers.settings.redis_port, ROLE, servers.settings.redis_password, ("NONSENSE",))


def test_who_does_not_speak_it_is_down(servers: Servers) -> None:
    known = servers.settings
    # PostgreSQL closes a connection that begins with anything but its own words.
    elsewhere = replace(known, values=known.values | {"REDIS_URL": known.redis_url.replace(str(known.redis_port), str(known.postgres_port))})
    with pytest.raises(ServerDown, match="redis does not answer"):
        valkey.ping(elsewhere)


def test_what_doctor_asks(servers: Servers) -> None:
    number, clock = valkey.version_and_clock(servers.settings)
    assert number[0].isdigit()
    assert clock > 1_700_000_000
    assert valkey.read_hash(servers.settings, "nothing") == {}
