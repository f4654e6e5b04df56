"""Command lines that are read without typer: those and no others, to the same end."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from app import cli, processes, quick
from app.verbs import app


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("web", ("web", None)),
        ("server-bot --home there", ("server_bot", "there")),
        ("node --name attic --home there", ("node", "there", "attic")),
        ("status", (None, False)),
        ("status --json", (None, True)),
        ("status --home there --json", ("there", True)),
        ("audit verify", (None, False)),
        ("audit verify --json --home there", ("there", True)),
    ],
)
def test_what_stays_or_is_waited_for_begins_at_once(line: str, told: tuple[object, ...]) -> None:
    begin = quick.meant(line.split())
    assert isinstance(begin, partial)
    assert begin.args == told


@pytest.mark.parametrize(
    "line",
    ["", "--help", "web --help", "web --json", "web --home", "web --home --json", "web there", "node", "node list", "node --home there",
     "status --home a --home b", "status --home=there", "status --name x", "web --name x", "up", "audit", "audit list", "audit verify there", "audit verify --name x", "sandbox", "frobnicate"],
)  # fmt: skip
def test_all_else_is_left_to_typer(line: str) -> None:
    assert quick.meant(line.split()) is None


def test_each_has_a_verb_that_typer_knows_too() -> None:
    known = {one.name or one.callback.__name__ for one in app.registered_commands if one.callback}
    assert {*quick.PROCESSES, "status"} <= known
    assert all(callable(getattr(processes, verb.replace("-", "_"))) for verb in (*quick.PROCESSES, "node"))


@pytest.mark.parametrize("verb", [["status"], ["audit", "verify"]], ids=" ".join)
@pytest.mark.parametrize("options", [["--json", "--home"], ["--home"]])
def test_both_ways_say_the_same(verb: list[str], options: list[str], tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEATLIZARD_")}
    ways = ([*options, str(tmp_path)], [*options[:-1], f"--home={tmp_path}"])
    said = []
    for words in ways:
        command = [sys.executable, "-m", "app.cli", *verb, *words]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        said.append((ran.returncode, ran.stdout, ran.stderr))
    assert said[0] == said[1]
    assert said[0][0] == 1


def test_ctrl_c_while_it_loads_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def pressed(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quick, "meant", pressed)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "meatlizard: stopped.\n")
