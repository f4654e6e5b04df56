"""One stack for the tests of this folder; each test leaves it running and whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with one node and the real model, in a home whose path has a space."""
    # Nobody who asks by the page or the command line says how: what they read is long, and ends, whatever the model thinks of.
    stack = Stack.of(tmp_path_factory.mktemp("stack") / "a home", temperature="0", repeat_penalty="1", max_tokens="300")
    stack.up()
    try:
        yield stack
    finally:
        stack.down()


@pytest.fixture
def checkout() -> Path:
    return Path(__file__).resolve().parents[2]
