"""Being told to stop is heard even where Python swallows what a signal's handler raises."""

import signal
from collections.abc import Iterator

import pytest

from app.local import stop_signals
from app.local.stop_signals import STOP_SIGNALS, StopAsked


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    stop_signals.listen()
    yield
    stop_signals.listen()  # Forgets what was asked.
    for number, handler in before.items():
        signal.signal(number, handler)


class Swallows:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_raises_where_it_can() -> None:
    with pytest.raises(StopAsked):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_finalizer_swallowed_is_raised_at_the_next_step() -> None:
    stop_signals.check()
    swallows = Swallows()
    del swallows
    with pytest.raises(StopAsked):
        stop_signals.check()


def test_what_comes_while_blocked_is_raised_by_whoever_lets_it_in() -> None:
    stop_signals.block()
    signal.raise_signal(signal.SIGTERM)
    stop_signals.check()
    with pytest.raises(StopAsked):
        stop_signals.unblock()
