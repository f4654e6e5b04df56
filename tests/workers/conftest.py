"""pytest-celery's clusters over our own processes: the broker is the run's Valkey, the workers are `meatlizard` ones."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery
from pytest_celery import CeleryBrokerCluster, CeleryTestSetup, CeleryTestWorker, CeleryWorkerCluster, RedisTestBroker

from app.core import keys
from app.services import nodes
from tests.fakes.llama import LlamaFake, Options
from tests.support.containers import ProcessContainer, ValkeyContainer
from tests.support.servers import Servers
from tests.support.waiting import PATIENCE


class PlatformWorker(CeleryTestWorker):
    """`meatlizard worker` as a node of a cluster."""

    @property
    def worker_queue(self) -> str:
        return "turns"

    @property
    def worker_name(self) -> str:
        return "worker"


@pytest.fixture
def celery_broker(servers: Servers) -> Iterator[RedisTestBroker]:
    broker = RedisTestBroker(ValkeyContainer(servers.valkey, servers.settings, servers.wait_for_valkey))
    yield broker
    broker.teardown()


@pytest.fixture
def celery_broker_cluster(celery_broker: RedisTestBroker) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(celery_broker)


@pytest.fixture
def celery_backend_cluster() -> None:
    """Nobody waits for results: there is no backend."""
    return


@pytest.fixture
def celery_backend_cluster_config() -> None:
    return None


@pytest.fixture
def celery_setup_app(celery_setup_config: dict[str, object]) -> Celery:
    """An application that sends, with the settings that ours have."""
    app = Celery("tests", set_as_current=False)
    app.config_from_object("celeryconfig")
    app.conf.update(celery_setup_config)
    return app


@pytest.fixture
def celery_worker(servers: Servers, celery_setup_app: Celery, tmp_path: Path) -> Iterator[PlatformWorker]:
    home = {"MEATLIZARD_HOME": str(servers.home.path)}
    worker = PlatformWorker(ProcessContainer("worker", ["worker"], tmp_path, home, " ready."), celery_setup_app)
    yield worker
    worker.teardown()


@pytest.fixture
def celery_worker_cluster(celery_worker: PlatformWorker) -> CeleryWorkerCluster:
    return CeleryWorkerCluster(celery_worker)


@pytest.fixture
def setup(celery_setup: CeleryTestSetup) -> CeleryTestSetup:
    """The whole of it, ready."""
    assert celery_setup.ready()
    return celery_setup


@dataclass(frozen=True)
class Engine:
    """A paced stand-in of llama-server in this process."""

    fake: LlamaFake
    url: str


@pytest.fixture
def engine() -> Iterator[Engine]:
    """One that makes 100 tokens a second, 60 to a reply."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    fake = LlamaFake(Options(rate=100.0, first_ms=5.0, slots=16, length=60))
    yield Engine(fake, asyncio.run_coroutine_threadsafe(fake.start(), loop).result(PATIENCE))
    asyncio.run_coroutine_threadsafe(fake.stop(), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    loop.close()


@pytest.fixture
def llama(engine: Engine) -> str:
    """Its address."""
    return engine.url


class Nodes:
    """Real nodes, each under its own Redis user."""

    def __init__(self, servers: Servers, app: Celery, folder: Path, llama: str) -> None:
        self.servers, self.app, self.folder, self.llama = servers, app, folder, llama
        self.started: list[CeleryTestWorker] = []

    def start(self, name: str = "home", slots: int = 2, wait: bool = True) -> CeleryTestWorker:
        nodes.register(name, slots)
        self.servers.add_node(
            name,
            NODE_KEYS=keys.node_keys(name),
            LLAMA_URL=self.llama,
            SLOTS=str(slots),
            CTX_SIZE="4096",
            DRAIN_SECONDS="0.2",
        )
        home = {"MEATLIZARD_HOME": str(self.servers.home.path)}
        container = ProcessContainer(name, ["node", "--name", name], self.folder, home, " ready.")
        node = CeleryTestWorker(container, self.app)
        self.started.append(node)
        if wait:
            assert node.ready()
        return node


@pytest.fixture
def node_workers(servers: Servers, celery_setup_app: Celery, tmp_path: Path, llama: str) -> Iterator[Nodes]:
    made = Nodes(servers, celery_setup_app, tmp_path, llama)
    yield made
    for node in made.started:
        node.teardown()
    for file in servers.home.nodes.glob("*.env"):
        file.unlink()
