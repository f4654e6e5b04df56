"""A node is invited, has its own rights in Redis and no others, and loses them for good when it is removed."""

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry
from sqlalchemy import select

from app.core import keys, redis
from app.core.db import transaction
from app.core.models import AuditRecord, Node
from app.services import dispatch, joining, nodes, queue
from app.services.joining import ClientBot
from app.wire import invitation, names
from app.wire.acl import node_user
from app.wire.errors import BadInput, NotFound
from app.wire.states import Door
from tests.support.nodes import ready
from tests.support.people import Member
from tests.support.servers import Servers

BOT = ClientBot("its-token", 77, 5, 6, "https://discord.com/api/v10")


def invite(servers: Servers, name: str = "attic", bot: ClientBot | None = None) -> dict[str, str]:
    address = f"127.0.0.1:{servers.settings.redis_port}"
    return invitation.parse(joining.invite(name, 3, address, bot, "tests", Door.CLI))


def client(url: str) -> Redis:
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def test_it_carries_what_the_node_needs_and_no_more(servers: Servers) -> None:
    line = invite(servers, bot=BOT)
    assert set(line) == invitation.SETTINGS
    assert (line["NODE"], line["SLOTS"], line["DISCORD_TOKEN"]) == ("attic", "3", "its-token")
    assert line["NODE_KEYS"] == keys.node_keys("attic")
    said = " ".join(line.values())
    known = servers.settings.values
    for secret in (known["KEYS"], servers.settings.redis_password, servers.settings.database_password, known["S3_SECRET_KEY"]):
        assert secret not in said
    with client(line["REDIS_URL"]) as own:
        own.hset(names.node_key("attic"), "state", "ready")
        with pytest.raises(NoPermissionError):
            own.get("ml:queue:ring")
    assert nodes.bots()[77] == "attic"
    with transaction() as tx:
        assert "node.invite" in set(tx.scalars(select(AuditRecord.action)))


def test_a_second_invitation_ends_the_first(servers: Servers) -> None:
    first, second = invite(servers), invite(servers)
    assert first["NODE_KEYS"] == second["NODE_KEYS"]
    with client(first["REDIS_URL"]) as old, pytest.raises(AuthenticationError):
        old.ping()
    with client(second["REDIS_URL"]) as new:
        assert new.ping()


def test_a_redis_that_forgot_is_told_again(servers: Servers) -> None:
    line = invite(servers)
    redis.client().execute_command("ACL", "DELUSER", node_user("attic"))
    joining.admit_all()
    with client(line["REDIS_URL"]) as own:
        assert own.ping()


def test_without_redis_it_has_no_user_there(servers: Servers) -> None:
    line = invitation.parse(joining.invite("attic", 2, None, BOT, "tests", Door.CLI))
    assert "REDIS_URL" not in line
    assert node_user("attic") not in redis.client().execute_command("ACL", "USERS")
    with pytest.raises(BadInput, match="needs a lane"):
        joining.invite("den", 2, None, None, "tests", Door.CLI)


def test_a_removed_node_is_out_for_good(servers: Servers) -> None:
    line = invite(servers, bot=BOT)
    with client(line["REDIS_URL"]) as own:
        assert own.ping()
        joining.remove("attic", "tests", Door.CLI)
        with pytest.raises(RedisError):
            own.ping()
    assert nodes.listed() == []
    assert nodes.bots() == {}
    joining.admit_all()
    with client(line["REDIS_URL"]) as own, pytest.raises(AuthenticationError):
        own.ping()
    # Its keys follow from its name, and somebody may have them.
    with pytest.raises(BadInput, match="another name"):
        invite(servers)
    with pytest.raises(NotFound):
        joining.remove("attic", "tests", Door.CLI)


@pytest.mark.parametrize("lane", ["queue", "discord"])
def test_a_draining_node_is_given_no_more_until_it_is_undone(servers: Servers, ada: Member, lane: str) -> None:
    ready("home", 2, lane=lane)
    nodes.drain("home", "tests", Door.CLI)
    ada.ask(ada.session())
    assert dispatch.dispatch() == 0
    assert [one.state for one in nodes.listed()] == ["draining"]
    # Redis forgets all of it; PostgreSQL does not.
    redis.client().delete(names.DRAINING)
    with transaction() as tx:
        nodes.remember(tx)
    assert dispatch.dispatch() == 0
    nodes.undrain("home", "tests", Door.CLI)
    assert dispatch.dispatch() == 1
    assert not queue.waiting()


def test_who_is_not_there_cannot_be_drained(servers: Servers) -> None:
    with pytest.raises(NotFound, match="node list"):
        nodes.drain("nobody", "tests", Door.CLI)


def test_a_bot_that_is_given_to_another_node_is_that_ones_alone(servers: Servers) -> None:
    invite(servers, bot=BOT)
    invite(servers, "den", bot=BOT)
    assert nodes.bots() == {77: "den"}
    with transaction() as tx:
        assert tx.scalars(select(Node.discord_id).where(Node.name == "attic")).one() is None
