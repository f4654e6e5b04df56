"""Who pings and reads no answer fills no memory of ours."""

import asyncio
import socket
from typing import Any

import pytest

from app.web import patience
from app.web.patience import WebSocket
from tests.support.people import Member
from tests.support.waiting import until_async
from tests.support.website import Site

PING = b"\x89\xfd\0\0\0\0" + b"x" * 125
"""A whole frame, under a mask of zeros."""
AT_ONCE = 800
POURED = 40
"""4 MB of pings, and as much in answers."""
MOST_BYTES = 1 << 20
"""What may wait for such a reader: one read's answers on top of the mark at which asyncio asks for a pause."""


async def test_pings_whose_answers_are_not_read_wait_in_their_sender(
    site: Site, ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    begin = WebSocket.connection_made

    def noted(self: WebSocket, transport: Any) -> None:
        begin(self, transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        made.append(self)

    monkeypatch.setattr(WebSocket, "connection_made", noted)
    monkeypatch.setattr(patience, "CONTROLS", AT_ONCE * POURED)  # Far fewer end a socket otherwise.
    async with site.page(ada, ada.session(), close_timeout=0.1) as page:
        await page.send(type="ping")
        await page.hear("pong")
        server = made[-1].transport
        client = page.connection.transport
        client.pause_reading()
        largest = 0
        for _ in range(POURED):
            client.write(PING * AT_ONCE)
            for _ in range(3):
                await asyncio.sleep(0)
                largest = max(largest, server.get_write_buffer_size())
        assert 0 < largest < MOST_BYTES
        # Read again, it all goes on: every ping was answered.
        client.resume_reading()

        async def drained() -> bool:
            return client.get_write_buffer_size() == server.get_write_buffer_size() == 0

        await until_async(drained)
        await page.send(type="ping")
        await page.hear("pong")
