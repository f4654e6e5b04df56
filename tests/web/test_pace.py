"""Who asks too fast waits in line: the first of them first, evenly, and those who have left take nobody's place."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from limits import RateLimitItem, RateLimitItemPerSecond, RateLimitItemPerYear
from starlette.types import Message, Receive, Scope, Send

from app.web import pace
from app.web.pace import Pace


@pytest.fixture(autouse=True)
def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "address", lambda connection: connection.client.host)


class Door:
    """What stands behind: it notes who came through."""

    def __init__(self) -> None:
        self.came: list[Any] = []
        self.pace = Pace(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.came.append(scope["path"])

    async def knock(self, path: str = "/", address: str = "10.0.0.7", gone: Callable[[], bool] | None = None) -> dict[str, str]:
        """Ask for something; return the headers of a refusal, empty where it came through."""
        said: list[Message] = []

        async def send(message: Message) -> None:
            said.append(message)

        async def receive() -> Message:
            raise AssertionError("nothing is read of who waits")

        state = {pace.GONE: gone} if gone else {}
        await self.pace({"type": "http", "client": (address, 1), "headers": [], "path": path, "state": state}, receive, send)
        return {name.decode(): value.decode() for name, value in said[0]["headers"]} if said else {}


async def test_in_the_order_in_which_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "RATE", RateLimitItemPerSecond(3))
    door = Door()
    wanted = [f"/{number}" for number in range(8)]
    assert not any(await asyncio.gather(*(door.knock(path) for path in wanted)))
    assert door.came == wanted
    assert not door.pace._lines, "a line that is empty is forgotten"


async def test_who_has_left_is_not_waited_for_and_who_stays_is_told_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "RATE", RateLimitItemPerYear(1))
    door = Door()
    assert not await door.knock()
    assert (await door.knock(gone=lambda: True))["retry-after"] == "1", "it is let go at once"
    assert int((await door.knock())["retry-after"]) > pace.WAIT_SECONDS
    assert not await door.knock(address="10.0.0.8"), "another address has room of its own"
    assert door.came == ["/", "/"]


async def test_a_burst_goes_in_at_once_only_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "AT_ONCE", RateLimitItemPerYear(3))
    door, slept, real = Door(), [], asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(len(door.came))
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await asyncio.gather(*(door.knock() for _ in range(6)))
    assert len(door.came) == 6
    assert slept == [3, 4, 5], "three at once, and a pause before each of the others"


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(pace, "RATE", RateLimitItemPerSecond(1))
    door = Door()
    told = await asyncio.gather(*(door.knock() for _ in range(30)))
    assert len(door.came) < 30
    assert [one["connection"] for one in told if one] == ["close"] * (30 - len(door.came))
    assert not door.pace._lines


async def test_those_who_had_to_wait_come_one_by_one_whatever_their_address(monkeypatch: pytest.MonkeyPatch) -> None:
    door, slept, known = Door(), [], set()
    real = asyncio.sleep

    async def hit(item: RateLimitItem, whose: str) -> bool:
        try:
            return item != pace.AT_ONCE and whose in known
        finally:
            known.add(whose)

    async def sleep(seconds: float) -> None:
        slept.append(len(door.came))
        await real(0)

    monkeypatch.setattr(door.pace._limiter, "hit", hit)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    await asyncio.gather(*(door.knock(address=f"10.0.0.{last}") for last in range(4)))
    assert len(door.came) == 4
    assert {0, 1, 2, 3} <= set(slept), "after each that has gone in there is a pause before the next"
