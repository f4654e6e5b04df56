"""The Dockerfile: every stage, source, requirement file and command in it exists."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from app.core.config import Settings
from app.local import model
from tests.docker import files

LINES = re.sub(r"\\\n\s*", " ", files.text("Dockerfile")).splitlines()
PROJECT = tomllib.loads((files.REPOSITORY / "pyproject.toml").read_text())


def instructions(name: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in LINES if line.startswith(name + " ")]


def stages() -> dict[str, str]:
    return {words[2]: words[0] for words in instructions("FROM")}


def copied() -> list[Path]:
    """What is copied out of the checkout."""
    words = [line for line in instructions("COPY") if not line[0].startswith("--from")]
    return [Path(source) for line in words for source in line[:-1]]


def test_stages_build_on_what_exists():
    known = stages()
    python = known.pop("base")
    assert set(known.values()) <= {"base", "runtime"}
    assert tuple(map(int, re.match(r"python:(\d+)\.(\d+)-slim$", python).groups())) >= (3, 12)
    assert {word[0].removeprefix("--from=") for word in instructions("COPY") if "--from" in word[0]} <= set(stages())


def test_compose_builds_targets_that_exist():
    for name in (files.PLATFORM, files.NODE):
        for body in files.services(name).values():
            if build := body.get("build"):
                assert build["target"] in stages()
                assert (files.DOCKER / build["context"] / build["dockerfile"]).resolve() == files.DOCKER / "Dockerfile"


def test_every_source_exists_and_reaches_the_builder():
    kept = [line[1:] for line in files.text("Dockerfile.dockerignore").splitlines() if line.startswith("!")]
    for source in copied():
        assert (files.REPOSITORY / source).exists(), source
        assert str(source) in kept or source.parts[0] in kept, source
    assert all(any(source.is_relative_to(one) for source in copied()) for one in kept)


def test_all_that_the_wheel_is_made_of_is_copied():
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    wanted = {
        *wheel["only-include"],
        *wheel["force-include"],
        PROJECT["project"]["readme"],
        "pyproject.toml",
        "LICENSE",
    }
    assert wanted <= {str(source) for source in copied()}


def test_packages_come_by_their_hashes():
    for line in LINES:
        for call in re.findall(r"pip install [^&]+", line):
            assert "--no-deps" in call
            assert "--require-hashes" in call or call.split()[-1] == "/wheel/*.whl"
    for requirements in (files.REPOSITORY / "requirements").glob("*.txt"):
        pins = re.findall(r"^[a-z0-9][^ ]*==", requirements.read_text(), re.MULTILINE)
        assert pins
        assert "--index" not in requirements.read_text()


def test_the_build_lock_agrees_with_the_runtime_lock():
    def pins(name: str) -> dict[str, str]:
        text = (files.REPOSITORY / "requirements" / name).read_text()
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))

    assert pins("build.txt").items() <= pins("runtime.txt").items()
    named = [re.match(r"[a-z-]+", one)[0] for one in PROJECT["dependency-groups"]["build"]]
    assert set(named) <= set(pins("build.txt"))


def test_processes_run_as_an_ordinary_user_who_owns_the_state():
    last = {}
    stage = ""
    for line in LINES:
        words = line.split()
        if words[:1] == ["FROM"]:
            stage = words[3]
            last[stage] = last.get(words[1], "root")
        elif words[:1] == ["USER"]:
            last[stage] = words[1]
    assert last["platform"] == last["node"] == "meatlizard"
    assert "install -d -o meatlizard -g meatlizard -m 0700 /state /data" in "\n".join(LINES)
    assert "uid=10001" in str(files.compose(files.PLATFORM)["x-platform"]["tmpfs"])
    assert "--uid 10001" in "\n".join(LINES)


def test_images_start_verbs_that_exist_on_the_port_that_is_told():
    for words in [line for line in LINES if line.startswith("CMD ")]:
        program, verb = re.findall(r'"([^"]+)"', words)
        assert program in PROJECT["project"]["scripts"]
        assert verb in files.verbs()
    port = Settings.model_fields["port"].default
    assert instructions("EXPOSE") == [[str(port)]]
    checks = [line for line in LINES if "urlopen" in line]
    assert checks
    assert all(f"127.0.0.1:{port}/health" in line for line in checks)
    assert "/health" in files.routes()


def test_the_nodes_model_is_the_one_that_is_locked():
    environment = next(line for line in LINES if "MEATLIZARD_MODEL=" in line)
    path = Path(environment.partition("MEATLIZARD_MODEL=")[2])
    assert (path.parent.name, path.name) == (model.PACKAGE, model.FILE)
    assert f"--target {path.parents[1]}" in files.text("Dockerfile")


def test_a_node_runs_with_the_nodes_packages_alone():
    """Nothing that only requirements/runtime.txt has is imported by the node's verb."""
    probe = """
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
locked = {line.partition("==")[0] for line in Path(sys.argv[1]).read_text().splitlines() if "==" in line}
mine = locked | {"meatlizard"}
own = {"app", "workers", "bots", "celeryconfig", "tests"}
modules = packages_distributions()
class Refuse:
    def find_spec(self, name, path=None, target=None):
        dists = {one.lower().replace("_", "-").replace(".", "-") for one in modules.get(name, [])}
        if path is None and name not in own and dists and not dists & mine:
            raise ModuleNotFoundError(f"{name} is not on a node", name=name)
sys.meta_path.insert(0, Refuse())
import app.cli
import app.verbs
import app.local.commands
import app.node
import workers.inference.process
import workers.inference.app
import workers.inference.app
"""
    environment = {
        "MEATLIZARD_NODE": "probe",
        "MEATLIZARD_REDIS_URL": "redis://127.0.0.1:1/0",
        "MEATLIZARD_NODE_KEYS": ";".join(["A" * 43 + "="] * 2),
        "PATH": "/usr/bin:/bin",
    }
    ran = subprocess.run(
        [sys.executable, "-c", probe, str(files.REPOSITORY / "requirements/node.txt")],
        cwd=files.REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
