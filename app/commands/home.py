"""The option that every verb has: which stack is meant."""

import os
from pathlib import Path
from typing import Annotated

import typer


def _choose_home(value: Path | None) -> Path | None:
    if value is not None:
        os.environ["MEATLIZARD_HOME"] = str(value.expanduser().absolute())
    return value


Home = Annotated[
    Path | None,
    typer.Option(
        "--home", readable=False, help="The stack meant: its state folder. [~/.meatlizard]", callback=_choose_home
    ),
]
