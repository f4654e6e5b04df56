"""What others wrote, as a terminal may be shown it: nothing in it moves the cursor, takes the clipboard or is read as style."""

from typing import Any, Final

CONTROLS: Final = (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Those of ASCII and Latin-1, ESC with which every command to a terminal begins among them, and what turns words around."""
INSTEAD: Final = "\N{REPLACEMENT CHARACTER}"
_IN_CELLS: Final = dict.fromkeys(CONTROLS, INSTEAD)
_IN_TEXTS: Final = _IN_CELLS | {ord("\n"): "\n", ord("\t"): "\t", ord("\r"): ""}


def text(said: str) -> str:
    """Return a text of several lines so."""
    return said.translate(_IN_TEXTS)


def row(table: Any, *cells: str) -> None:
    """Add a row to one of rich's tables; a node, a member or an engine may have chosen the words."""
    # Loaded here, as the table was.
    from rich.text import Text

    table.add_row(*(Text(cell.translate(_IN_CELLS)) for cell in cells))
