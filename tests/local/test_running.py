"""What can be seen of a stack that is up: the fixed status object, passwords everywhere, secrets nowhere."""

import http.client
import socket
import stat
from urllib.parse import urlsplit

import boto3
import botocore.exceptions
import psutil
import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.local.harness import Cli


def test_status_has_the_fixed_keys(running: Cli) -> None:
    found = running.status()
    assert found["url"].startswith("http://127.0.0.1:")
    assert {"postgres", "redis", "s3", "web", "worker"} <= set(found["processes"])
    for process in found["processes"].values():
        assert process["state"] == "running"
        assert psutil.pid_exists(process["pid"])
    assert set(found["services"]) == {"postgres", "redis", "s3", "discord"}
    assert set(found["services"]["s3"]) == {"endpoint", "access_key", "secret_key", "bucket"}
    assert found["services"]["discord"] is None
    assert found["nodes"] == []


def test_every_service_works_with_what_status_says(running: Cli) -> None:
    services = running.status()["services"]
    with psycopg2.connect(services["postgres"]) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE probe (id int); DROP TABLE probe; SHOW data_checksums")
        assert cursor.fetchone() == ("on",)
    assert redis.Redis.from_url(services["redis"]).ping()
    bucket = services["s3"]["bucket"]
    client = s3_client(services["s3"], services["s3"]["secret_key"])
    client.put_object(Bucket=bucket, Key="a/b", Body=b"kept")
    assert client.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"kept"


def test_no_service_lets_in_who_has_no_password(running: Cli) -> None:
    services = running.status()["services"]
    postgres, valkey = urlsplit(services["postgres"]), urlsplit(services["redis"])
    for user in ("postgres", "platform"):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(host="127.0.0.1", port=postgres.port, user=user, dbname="postgres", passfile="/none")
    with pytest.raises(redis.AuthenticationError):
        valkey_client(valkey.port).ping()
    with pytest.raises(redis.AuthenticationError):
        valkey_client(valkey.port, username="platform", password="wrong").ping()
    with pytest.raises(botocore.exceptions.ClientError):
        s3_client(services["s3"], "wrong").list_buckets()
    anonymous = http.client.HTTPConnection(urlsplit(services["s3"]["endpoint"]).netloc, timeout=5)
    anonymous.request("GET", f"/{services['s3']['bucket']}")
    assert anonymous.getresponse().status >= 400


def test_supervisor_asks_for_its_password(running: Cli) -> None:
    for connection in running.family()[0].net_connections("inet"):
        if connection.status == psutil.CONN_LISTEN:
            client = http.client.HTTPConnection("127.0.0.1", connection.laddr.port, timeout=5)
            client.request("POST", "/RPC2")
            assert client.getresponse().status == 401


def test_all_listen_on_loopback_only(running: Cli) -> None:
    listening = [
        connection
        for process in running.family()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN or connection.family == socket.AF_UNIX and connection.laddr
    ]
    assert len(listening) >= 5
    assert {connection.laddr[0] for connection in listening} == {"127.0.0.1"}


def test_no_secret_is_in_a_command_line_or_a_log(running: Cli) -> None:
    services = running.status()["services"]
    secrets = [
        urlsplit(services["postgres"]).password or "",
        urlsplit(services["redis"]).password or "",
        services["s3"]["secret_key"],
        (running.home.path / "postgres-password").read_text().strip(),
        running.home.admin_password.read_text().strip(),
    ]
    lines = [" ".join(process.cmdline()) for process in running.family()]
    logs = [log.read_text(errors="replace") for log in running.home.logs.iterdir()]
    assert not [secret for secret in secrets for text in lines + logs if secret in text]


def test_everything_in_the_home_is_private(running: Cli) -> None:
    for path in [running.home.path, *running.home.path.glob("*"), *running.home.run.glob("*")]:
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_a_second_up_finds_it_running(running: Cli) -> None:
    before = {process.pid for process in running.family()}
    assert "already running" in running.run("up")
    assert {process.pid for process in running.family()} == before


def test_doctor_finds_all_well(running: Cli) -> None:
    assert '"ok": true' in running.run("doctor", "--json")
    assert "clocks agree" in running.run("doctor")


def valkey_client(port: int | None, **login: str) -> redis.Redis:
    return redis.Redis(port=port or 0, retry=Retry(NoBackoff(), 0), **login)  # type: ignore[arg-type]


def s3_client(service: dict[str, str], secret: str):  # type: ignore[no-untyped-def]
    return boto3.client(
        "s3",
        endpoint_url=service["endpoint"],
        aws_access_key_id=service["access_key"],
        aws_secret_access_key=secret,
        region_name="us-east-1",
    )
