"""Showing a person what a start is busy with: one line a step, in a terminal or in a file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


class Progress:
    """Steps as lines: a spinner while one runs in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Says what is done and how long it took; a step that raises is left to whoever reports the error."""
        began = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(escape(what)):
                yield
        else:
            yield
        self.console.print(f"[green]✓[/] {escape(what)} [dim]{time.monotonic() - began:.1f} s[/]")

    def say(self, line: str) -> None:
        """One line, as it is."""
        self.console.print(escape(line))

    def block(self, title: str, rows: list[tuple[str, str]]) -> None:
        """The one thing to read: name and value a line, plain enough to be copied and searched."""
        width = max(len(name) for name, _ in rows)
        self.console.print(f"\n[bold green]{escape(title)}[/]\n")
        for name, value in rows:
            self.console.print(f"  [dim]{name:<{width}}[/]  {escape(value)}")
        self.console.print()
