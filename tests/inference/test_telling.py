"""What monitors hear of a node's tasks goes out in bunches, and none of it is left behind."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from workers.inference.telling import GATHER_SECONDS, Gathering


class Loop:
    """A worker's loop whose time is the test's."""

    def __init__(self) -> None:
        self.woken = 0
        self.later: list[Callable[[], None]] = []

    def call_soon(self, work: Callable[..., Any], *given: Any) -> None:
        self.woken += 1
        work(*given)

    def call_later(self, seconds: float, work: Callable[[], None]) -> None:
        assert seconds == GATHER_SECONDS
        self.later.append(work)


class Dispatcher:
    """Celery's, as far as it is needed."""

    def __init__(self) -> None:
        self.on_send_buffered: Callable[[], None] = lambda: None
        self.buffer_limit = 24
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1


def test_a_bunch_is_one_message_and_the_last_one_is_sent_at_the_end() -> None:
    loop, dispatcher = Loop(), Dispatcher()
    consumer = SimpleNamespace(hub=loop, event_dispatcher=dispatcher, steps=[])
    step = Gathering(consumer)
    step.start(consumer)
    for _ in range(3):
        dispatcher.on_send_buffered()
    assert (loop.woken, dispatcher.flushed) == (1, 0), "the loop is woken once, whoever it is that says something"
    loop.later.pop()()
    assert dispatcher.flushed == 1
    dispatcher.on_send_buffered()
    assert (loop.woken, len(loop.later)) == (2, 1)
    step.shutdown(consumer)
    assert dispatcher.flushed == 2
    consumer.event_dispatcher = None
    loop.later.pop()()
    again = Dispatcher()
    consumer.event_dispatcher = again
    step.start(consumer)
    again.on_send_buffered()
    assert loop.woken == 3, "a new connection begins anew"
