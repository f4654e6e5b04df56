"""The pace of a channel, on a clock that the test turns: a reply flows, and Discord never has to say 429."""

from itertools import pairwise

import pytest

from bots.client.pace import GAP_SECONDS, WINDOW_MESSAGES, WINDOW_SECONDS, Pace

DISCORD_SECONDS = 5.0
"""Discord counts five messages in so many seconds."""
ROUNDING = 1e-6
PATIENCE_SECONDS = 1.6
"""Within which a word is to be shown: the longest a stream may have to wait for its next message."""


def posts(pace: Pace, seconds: float, urgent: set[int] = frozenset()) -> list[float]:
    """When messages go out for somebody who always has something to say; those with these numbers are urgent."""
    now, made = 1000.0, []
    while now < 1000.0 + seconds:
        now = max(now, pace.next_at(now, urgent=len(made) in urgent))
        pace.note(now)
        made.append(now)
    return made


def most(times: list[float]) -> int:
    """Return how many lie in the fullest window of Discord's."""
    return max(sum(at <= other < at + DISCORD_SECONDS for other in times) for at in times)


@pytest.mark.parametrize("urgent", [set(), {0, 1, 2}, set(range(200))], ids=["stream", "begins in a hurry", "all in a hurry"])
def test_no_window_holds_more_than_discord_lets_through(urgent: set[int]) -> None:
    assert most(posts(Pace(), 120, urgent)) <= WINDOW_MESSAGES


def test_a_stream_is_never_silent_for_long() -> None:
    times = posts(Pace(), 120)
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) > GAP_SECONDS - ROUNDING
    assert max(gaps) <= PATIENCE_SECONDS
    # Nor after a beginning in a hurry.
    hurried = posts(Pace(), 120, {0, 1})
    assert max(after - before for before, after in pairwise(hurried)) <= PATIENCE_SECONDS


def test_the_first_goes_at_once_and_after_a_rest_again() -> None:
    pace = Pace()
    assert pace.next_at(5.0, urgent=False) == 5.0
    pace.note(5.0)
    assert not pace.rested(6.0)
    later = 5.0 + WINDOW_SECONDS
    assert pace.rested(later)
    assert pace.next_at(later, urgent=False) == later
