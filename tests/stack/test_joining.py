"""A node joins by its one line from a home of its own, answers for real, rests, and is shut out."""

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.stack import Stack
from tests.support.waiting import until

SECONDS = 90
"""For a node to load its code and its model on a busy machine."""


@pytest.fixture
def away(stack: Stack, tmp_path: Path) -> Stack:
    """Another machine, as far as one can be had: another home, and nothing of the stack's in the environment."""
    return Stack.of(tmp_path / "other", ctx_size="1024", threads="1")


@contextmanager
def running(away: Stack) -> Iterator[subprocess.Popen[bytes]]:
    """Let the node of that machine run."""
    away.home.joinpath("logs").mkdir(exist_ok=True)
    with (away.home / "logs" / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "node", "--home", str(away.home)], env=away.environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def node(stack: Stack, name: str) -> dict[str, object]:
    found = json.loads(stack.run("node", "list", "--json").stdout)["nodes"]
    return next((one for one in found if one["name"] == name), {})


def test_this_machines_own_node_is_not_invited(stack: Stack) -> None:
    """It would get another password and another bot, and be shut out."""
    refused = stack.run("node", "invite", "home", check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "this machine's own node" in refused.stderr


@pytest.mark.parametrize("address", ["nonsense", "host:99999", "host:none", "http://host:6379", "user:word@host:6379"])
def test_an_address_that_leads_nowhere_is_refused(stack: Stack, address: str) -> None:
    refused = stack.run("node", "invite", "attic", "--redis", address, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "HOST:PORT" in refused.stderr
    assert not node(stack, "attic")


def test_doctor_and_status_say_when_nobody_takes_prompts(stack: Stack) -> None:
    stack.run("node", "drain", "home")
    try:
        asking = subprocess.Popen(
            [*stack.command, "chat", "Say hello.", "--home", str(stack.home)],
            env=stack.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        until(lambda: stack.status()["waiting"] == 1)
        found = stack.run("doctor", check=False)
        assert found.returncode == 1
        assert "meatlizard node drain home --undo" in " ".join(found.stdout.split())
        assert "1 turn waits." in stack.run("status").stdout
    finally:
        stack.run("node", "drain", "home", "--undo")
    said, told = asking.communicate(timeout=SECONDS)
    assert (asking.returncode, bool(said.strip())) == (0, True), told
    assert "no node takes prompts just now" in told
    assert stack.status()["waiting"] == 0
    stack.run("doctor")


@pytest.mark.parametrize("lane", ["queue", "discord"])
def test_a_node_joins_answers_rests_and_leaves(stack: Stack, away: Stack, lane: str) -> None:
    name = f"attic-{lane}"
    invited = stack.run("node", "invite", name, "--slots", "1", "--lane", lane)
    line = invited.stdout.strip()
    assert len(line.splitlines()) == 1
    joined = away.run("node", "join", line)
    assert name in joined.stdout
    file = away.home / "nodes" / f"{name}.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ("REDIS_URL" in file.read_text(), "DISCORD_TOKEN" in file.read_text()) == (lane == "queue", lane == "discord")
    assert "MEATLIZARD_KEYS" not in file.read_text()
    with running(away) as process:
        until(lambda: (name, "ready") in [(one["name"], one["state"]) for one in stack.status()["nodes"]], SECONDS, away.logs)
        stack.run("node", "drain", "home")
        assert node(stack, "home")["state"] == "draining"
        answer = stack.ask("Say hello.")
        assert (answer["state"], answer["node"], answer["lane"]) == ("done", name, lane)
        assert answer["text"].strip()
        stack.run("node", "drain", name)
        stack.run("node", "drain", "home", "--undo")
        assert stack.ask("Say hello.")["node"] == "home"
        stack.run("node", "drain", name, "--undo")
        assert node(stack, name)["state"] == "ready"
        stack.run("node", "remove", name)
        assert node(stack, name) == {}
        assert stack.ask("Say hello.")["node"] == "home"
        assert process.poll() is None, away.logs()
    refused = stack.run("node", "invite", name, check=False)
    assert refused.returncode == 1
    assert "another name" in refused.stderr


def test_what_is_no_invitation_is_refused_in_one_line(stack: Stack, away: Stack) -> None:
    refused = away.run("node", "join", "meatlizard-node-1.abc", check=False)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert not (away.home / "nodes").exists()
    line = stack.run("node", "invite", "cellar", "--lane", "queue").stdout.strip()
    refused = stack.run("node", "join", line, check=False)
    assert "platform's own home" in refused.stderr
    stack.run("node", "remove", "cellar")
