"""How often a Client-Bot logs in: Discord takes the token from a bot that does so more than a thousand times a day."""

import asyncio
import itertools
import socket
from pathlib import Path

import aiohttp
import pytest

from bots.client.door import DiscordDoor
from bots.client.logins import A_DAY, DAY_SECONDS, GAP_SECONDS, SPARING_SECONDS, Logins
from tests.client_bot.stage import KEYS, NODE, Stage
from workers.inference.node import Node


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_a_gateway_that_drops_everybody_at_once_costs_less_than_a_thousand_a_day() -> None:
    time = Time()
    logins = Logins(lambda: time.now, time.sleep)
    moments = []
    while time.now < 3 * DAY_SECONDS:
        await logins.room()
        moments.append(time.now)
        logins.count()
    assert all(later - earlier >= GAP_SECONDS for earlier, later in itertools.pairwise(moments))
    for day in range(3):
        assert A_DAY < sum(1 for one in moments if day <= one / DAY_SECONDS < day + 1) < 1000


async def test_a_quiet_day_ends_the_sparing() -> None:
    time = Time()
    logins = Logins(lambda: time.now, time.sleep)
    for _ in range(A_DAY):
        logins.count()
    await logins.room()
    assert time.now == SPARING_SECONDS
    time.now = DAY_SECONDS + 1.0
    await logins.room()
    assert time.now == DAY_SECONDS + 1.0


async def test_a_line_that_is_away_is_no_login(stage: Stage, tmp_path: Path) -> None:
    """Twenty tries at a line that was away counted once: back again, the node stayed away for three minutes more.

    And each of them said hello, from then on, beside all the others.
    """
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # Taken by nobody else, and nobody listens.
        away = stage.client().model_copy(update={"discord_api": f"http://127.0.0.1:{deaf.getsockname()[1]}/api/v10"})
        door = DiscordDoor(Node(stage.settings()), away, NODE, KEYS, tmp_path / "memory.json")
        for _ in range(3):
            with pytest.raises(aiohttp.ClientError):
                await door._connect()
    assert not door._logins._at
    assert not [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__qualname__", "") == "Herald.run"]
