"""`meatlizard trace`: where the time of one turn went, as a waterfall in the terminal."""

from pathlib import Path
from typing import Annotated

import typer

from app.commands.home import Home

WORDS = 60
"""Characters that stand before the bars."""


def trace(
    turn: Annotated[str, typer.Argument(help="The turn's id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write the picture to this file.")] = None,
    home: Home = None,
) -> None:
    """Show the way of one turn through every hop."""
    import json

    from rich.console import Console
    from rich.table import Table

    from app.services import traces, waterfall
    from app.wire.states import Door

    found = traces.of(turn)
    traces.looked_at(turn, "", "cli", Door.CLI)
    if svg is not None:
        svg.write_text(waterfall.svg(found, alone=True) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(found.dump()))
        return
    console = Console(highlight=False)
    where = f"{found.state}, attempt {found.attempt}, {found.lane or 'no'} lane, node {found.node or '-'}, {found.began}"
    console.print(f"[bold]{found.turn}[/]  [dim]{where}[/]", soft_wrap=True)
    table = Table("part", "where", "took", "", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    place = waterfall.places(found, max(20, console.width - WORDS))
    for bar in found.bars:
        before = int(place(bar.begins))
        wide = max(1, int(place(bar.ends)) - before)
        colour = {"engine": "green", "node": "blue", "wait": "yellow"}.get(waterfall.KINDS.get(bar.where, ""), "white")
        drawn = " " * before + f"[{colour}]" + "█" * wide + "[/]"
        table.add_row(bar.name, f"[dim]{bar.where}[/]", waterfall.duration(bar.took), drawn)
    console.print(table)
    console.print(f"[bold]{waterfall.duration(found.total)}[/] in all")
