"""Every error a person may see has a code of its own, a fitting status, and one sentence that says something."""

import inspect

from app.wire import errors
from app.wire.errors import MeatLizardError, PromptTooLong, TooOften

ALL = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, MeatLizardError)]


def test_codes_are_unique_and_statuses_are_errors() -> None:
    own = [one for one in ALL if "code" in vars(one)]
    assert len({one.code for one in own}) == len(own)
    assert all(400 <= one.status < 600 for one in ALL)


def test_messages_are_one_line_each() -> None:
    said = [str(one()) for one in ALL if one not in (PromptTooLong, TooOften)]
    said += [str(TooOften("Too many tries", 30)), str(PromptTooLong(40_000, 32_000))]
    assert all(line.strip() and "\n" not in line and line.endswith(".") for line in said)
    assert "32,000" in said[-1]


def test_the_tree_at_the_top_is_true() -> None:
    assert errors.__doc__
    assert {one.__name__ for one in ALL} == {word for word in errors.__doc__.split() if word in {c.__name__ for c in ALL}}
