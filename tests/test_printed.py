"""What others wrote reaches a terminal as words: it moves no cursor, and breaks no table."""

import io
import sys

import pytest
from rich.console import Console
from rich.table import Table

from app import printed
from app.console import Answer, Asking
from app.local import status

COMMANDS = "\x1b]0;gone\x07\x1b[2J\x1b]52;c;eA==\x07\x9b31m\u202e"
NODE = {"name": "evil", "lane": "queue", "busy": 0, "slots": 1, "state": "ready", "model": ""}


def drawn(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=True, color_system=None).print(table)
    return out.getvalue()


@pytest.mark.parametrize("word", [COMMANDS, "[/x]", "[bold red]x[/]", "[link=https://elsewhere.example]x[/link]", "\r\nhome"])
def test_a_table_shows_what_a_node_says_as_it_is(word: str) -> None:
    shown = drawn(status.nodes_table([NODE | {"model": word, "lane": word, "state": word}, NODE | {"name": "home"}]))
    assert not any(char in shown for char in COMMANDS if not char.isprintable())
    assert "home" in shown
    assert all(char in shown for char in word if char.isprintable())


def test_a_reply_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    asking = Asking("http://nowhere", "", "s", "Hi", None, {}, quiet=False)
    asking._show(0, f"One\r\n\tTwo {COMMANDS}ü 👩‍🚀".encode())
    assert out.getvalue().startswith("One\n\tTwo ")
    assert out.getvalue().endswith("ü 👩‍🚀")
    assert "\x1b" not in out.getvalue()
    assert isinstance(asking._answer, Answer)
    assert "\x1b" in asking._shown.decode()  # Programs get it as it was written.


def test_every_control_is_taken_out() -> None:
    every = "".join(map(chr, range(0x2100)))
    left = set(every) & set(printed.text(every))
    assert {char for char in left if ord(char) < 0x20} == {"\n", "\t"}
    assert not any(0x7F <= ord(char) < 0xA0 for char in left)
