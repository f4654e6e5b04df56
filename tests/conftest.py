"""What all tests share: an environment that leads nowhere, and real servers for those that ask for them."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from redis.asyncio import Redis

from tests.support import caches, order
from tests.support.nodes import PlayedNode
from tests.support.people import Member, member
from tests.support.servers import Servers, running
from tests.support.website import Site, serving

OF_THE_TESTS = ("MEATLIZARD_LONG", "MEATLIZARD_FUZZ_EXAMPLES")
for name in [name for name in os.environ if name.startswith("MEATLIZARD_") and name not in OF_THE_TESTS]:
    # What the shell holds for a stack of its own must not reach the tests.
    del os.environ[name]

# A slow machine is no failure; and what fails is told so that it can be tried again.
hypothesis_settings.register_profile("tests", deadline=None, print_blob=True, max_examples=60)
hypothesis_settings.load_profile("tests")


def pytest_xdist_auto_num_workers() -> int:
    """Say how many test processes `-n auto` means: one more than fits for every two cores, since half of each is waiting."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    return max(2, cores * 3 // 2)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> order.ByNeed | None:
    """Hand out by need where it is by file."""
    return order.ByNeed(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=order.turn)


@pytest.fixture(autouse=True, scope="session")
def _no_home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep `~/.meatlizard` out of reach: whoever forgets to say which stack is meant finds none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEATLIZARD_HOME", str(tmp_path_factory.mktemp("no-home") / "none"))
        yield


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture
def servers(_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """PostgreSQL, Valkey and S3, empty, with the platform's settings pointing at them."""
    monkeypatch.setenv("MEATLIZARD_HOME", str(_servers.home.path))
    monkeypatch.setenv("MEATLIZARD_GUESTS", "off")  # Tests sit at the machine itself: each would be let in as a guest.
    caches.forget()
    _servers.empty()
    yield _servers
    caches.forget()


@pytest.fixture
def repository() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def ada(servers: Servers) -> Member:
    """Somebody with an account."""
    return member("ada")


@pytest.fixture
def bob(servers: Servers) -> Member:
    """Somebody else."""
    return member("bob")


@pytest.fixture
async def node(servers: Servers) -> AsyncIterator[PlayedNode]:
    """A node that the test plays, ready for two turns."""
    client = Redis.from_url(servers.settings.redis_url, socket_timeout=None)
    played = PlayedNode("home", client)
    await played.come_up()
    yield played
    await client.aclose()


@pytest.fixture
async def site(servers: Servers) -> AsyncIterator[Site]:
    """The web process."""
    async with serving() as site:
        yield site
