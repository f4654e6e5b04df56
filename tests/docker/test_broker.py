"""The containers' own start of Valkey and invitation of nodes, run for real against Valkey and PostgreSQL."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from app.core import keys
from app.local import s3, valkey
from app.local.ports import Held
from app.services import nodes
from app.wire import names
from tests.docker import files
from tests.support.servers import Servers
from tests.support.waiting import PATIENCE, until
from workers.inference.settings import NodeSettings

SCRIPTS = Path(sys.executable).parent


class Broker:
    """Valkey as the container starts it, in a folder and on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.password = "first"
        held = Held()
        self.port = held.pick()
        held.release()
        programs = folder / "bin"
        programs.mkdir(parents=True)
        (programs / "valkey-server").symlink_to(valkey.binary())
        self.path = f"{programs}:{SCRIPTS}:/usr/bin:/bin"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        line = ["sh", str(files.DOCKER / "start-valkey.sh"), str(data), "--port", str(self.port), "--bind", "127.0.0.1"]
        environment = {"PATH": self.path, "REDIS_PASSWORD": self.password}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(line, env=environment, stdout=log, stderr=log)
        until(self._answers, said=lambda: (self.folder / "log").read_text())

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except RedisError:
            return False

    def url(self, user: str = "platform", password: str | None = None) -> str:
        return f"redis://{user}:{password or self.password}@127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        return Redis.from_url(self.url())

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(PATIENCE)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "broker")
    made.start()
    yield made
    made.stop()


def invite(broker: Broker, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run docker/invite.py as `docker compose exec` does: as the platform, the script from standard input."""
    return subprocess.run(
        [sys.executable, "-", *arguments],
        input=files.text("invite.py"),
        env=dict(os.environ, MEATLIZARD_REDIS_URL=broker.url(), PYTHONPATH=str(files.REPOSITORY)),
        capture_output=True,
        text=True,
        check=False,
        cwd=broker.folder,
    )


def test_nobody_gets_in_without_the_password(broker: Broker):
    for url in (f"redis://127.0.0.1:{broker.port}", broker.url(password="wrong"), broker.url(user="default")):
        with pytest.raises((AuthenticationError, NoPermissionError)):
            Redis.from_url(url).ping()


def test_an_invited_node_reaches_what_is_its_own_and_no_more(broker: Broker, servers: Servers, tmp_path: Path):
    address = f"127.0.0.1:{broker.port}"
    invited = invite(broker, "attic", "3", address)
    assert invited.returncode == 0, invited.stderr
    (tmp_path / "node.env").write_text(invited.stdout)
    settings = NodeSettings(_env_file=tmp_path / "node.env")
    assert (settings.node, settings.slots) == ("attic", 3)
    assert settings.node_keys.get_secret_value() == keys.node_keys("attic")
    assert [(one.name, one.slots) for one in nodes.listed()] == [("attic", 3)]

    node = Redis.from_url(settings.redis_url.get_secret_value())
    node.hset(names.node_key("attic"), "state", "ready")
    with pytest.raises(NoPermissionError):
        node.get("anything")
    with pytest.raises(NoPermissionError):
        node.flushall()
    with pytest.raises(NoPermissionError):
        node.lpush(names.inference_queue("cellar"), "x")

    # It is still known after a restart, with a new password of the platform's.
    broker.stop()
    broker.password = "second"
    broker.start()
    assert Redis.from_url(settings.redis_url.get_secret_value()).hget(names.node_key("attic"), "state") == b"ready"
    with pytest.raises(AuthenticationError):
        Redis.from_url(broker.url(password="first")).ping()

    # Invited again, the old password ends.
    assert invite(broker, "attic", "3", address).returncode == 0
    with pytest.raises(AuthenticationError):
        Redis.from_url(settings.redis_url.get_secret_value()).ping()


def test_a_bad_invitation_is_one_line(broker: Broker, servers: Servers):
    for arguments in ([], ["a", "b"], ["Not A Name"], ["a", "1", "b", "c"]):
        ran = invite(broker, *arguments)
        assert ran.returncode == 1
        assert ran.stderr.startswith("invite: ")
        assert ran.stderr.count("\n") == 1


def health_check(name: str, service: str, environment: dict[str, str]) -> Callable[[], bool]:
    """The health check of a service as its container runs it, but for the time it waits in vain."""
    check = files.shell_line(files.services(name)[service]["healthcheck"]["test"]).replace("--timeout 8", "--timeout 2")
    check = check.replace("/opt/meatlizard/", f"{files.DOCKER}/")

    def healthy() -> bool:
        return subprocess.run(["sh", "-c", check], env=environment, capture_output=True, check=False).returncode == 0

    return healthy


@contextmanager
def process(words: list[str], environment: dict[str, str], folder: Path) -> Iterator[Callable[[], str]]:
    """One of our processes for the length of a block; gives what it has logged."""
    log = folder / f"{words[-1]}.log"
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, "-P", "-m", *words], env=environment, stdout=output, stderr=output, cwd=folder
        )
    try:
        yield lambda: log.read_text()[-3000:]
    finally:
        started.terminate()
        started.wait(PATIENCE)


def test_the_workers_health_check_knows_a_worker_that_consumes(broker: Broker, servers: Servers):
    environment = dict(os.environ, PATH=broker.path, PYTHONPATH=str(files.REPOSITORY))
    healthy = health_check(files.PLATFORM, "worker", environment)
    with process(["app.cli", "worker"], environment, broker.folder) as said:
        until(healthy, said=said)
    assert not healthy()


def test_the_nodes_health_check_knows_a_node_that_is_at_work(broker: Broker, servers: Servers):
    """With the rights of a node alone, and llama.cpp in a place of its own, as compose.node.yml has it."""
    invited = invite(broker, "attic", "2", f"127.0.0.1:{broker.port}")
    assert invited.returncode == 0, invited.stderr
    held = Held()
    port = str(held.pick())
    held.release()
    environment = {"PATH": broker.path, "PYTHONPATH": str(files.REPOSITORY), "MEATLIZARD_HOME": str(broker.folder)}
    environment |= dict(line.split("=", 1) for line in invited.stdout.splitlines())
    environment["MEATLIZARD_LLAMA_URL"] = f"http://127.0.0.1:{port}"
    healthy = health_check(files.NODE, "node", environment)
    with (
        process(["tests.fakes.llama", "--port", port], environment, broker.folder),
        process(["app.cli", "node"], environment, broker.folder) as said,
    ):
        until(healthy, said=said)
    assert not healthy()


def test_the_object_store_serves_its_bucket_to_its_key_alone(tmp_path: Path):
    body = files.services(files.PLATFORM)["s3"]
    secrets = {"MEATLIZARD_S3_ACCESS_KEY": "access", "MEATLIZARD_S3_SECRET_KEY": "secret/+%"}
    given = {name: files.filled(value, secrets) for name, value in body["environment"].items()}
    held = Held()
    port = held.pick()
    held.release()
    line = files.shell_line(body["command"]).replace("--addr :9000", f"--addr 127.0.0.1:{port}")
    line = line.replace("/data", str(tmp_path / "data"))
    environment = {"PATH": f"{s3.binary().parent}:/usr/bin:/bin", "HOME": str(tmp_path), **given}
    server = subprocess.Popen(["sh", "-c", line], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def client(secret: str):
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="access",
            aws_secret_access_key=secret,
            region_name="us-east-1",
        )

    try:
        until(lambda: _takes(client("secret/+%")))
        assert client("secret/+%").get_object(Bucket="meatlizard", Key="a/b")["Body"].read() == b"c"
        assert not _takes(client("wrong"))
    finally:
        server.terminate()
        server.wait(PATIENCE)


def _takes(client) -> bool:
    try:
        client.put_object(Bucket="meatlizard", Key="a/b", Body=b"c")
    except Exception:
        return False
    return True
