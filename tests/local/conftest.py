"""Homes whose stack is ended after each test, however the test went."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.local import leftovers
from app.local.home import Home
from tests.local.harness import Cli


@pytest.fixture
def make_cli(tmp_path: Path) -> Iterator[Callable[..., Cli]]:
    made: list[Cli] = []

    def make(name: str = "a home", **more: Any) -> Cli:
        made.append(Cli(Home.at(tmp_path / name), **more))
        return made[-1]

    yield make
    for cli in made:
        if cli.home.run.is_dir():
            leftovers.end(cli.home)


@pytest.fixture
def cli(make_cli: Callable[..., Cli]) -> Cli:
    return make_cli()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """One stack that is up, for the tests that only look at it."""
    started = Cli(Home.at(tmp_path_factory.mktemp("stack") / "home of it"))
    started.run("up", "--detach")
    yield started
    leftovers.end(started.home)
