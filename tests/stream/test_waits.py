"""An end to each of many waits, with one timer for all of them."""

import asyncio

from app.stream.waits import Waits
from tests.support.waiting import until_async


async def test_a_wait_that_lasts_is_ended_once() -> None:
    late: list[float] = []
    loop = asyncio.get_running_loop()
    waits = Waits(1.0, lambda: late.append(loop.time()))
    for _ in range(5):  # Together longer than one may last.
        waits.begin()
        await asyncio.sleep(0.25)
        waits.end()
    assert not late
    began = loop.time()
    waits.begin()

    async def over() -> bool:
        return bool(late)

    await until_async(over)
    assert 0.99 <= late[0] - began < 20
    waits.begin()
    waits.close()
    await asyncio.sleep(1.2)
    assert len(late) == 1


async def test_no_wait_no_end() -> None:
    late: list[bool] = []
    waits = Waits(0.05, lambda: late.append(True))
    waits.begin()
    waits.end()
    await asyncio.sleep(0.15)
    assert not late
