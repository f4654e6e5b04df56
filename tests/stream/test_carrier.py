"""The broker's transport: what it keeps between two messages."""

import kombu

from app.stream import carrier
from tests.support.servers import Servers


def test_a_channel_keeps_its_client_until_its_connections_are_others(servers: Servers) -> None:
    carrier.use()
    with kombu.Connection(servers.settings.redis_url) as connection:
        channel = connection.channel()
        first = channel._create_client()
        assert first.ping()
        assert channel._create_client() is first
        channel._disconnect_pools()
        second = channel._create_client()
        assert second is not first
        assert second.ping()
