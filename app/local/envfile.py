"""Reading and writing settings files (KEY=value lines, 0600) without losing what a person wrote into them."""

from pathlib import Path

from dotenv import dotenv_values, set_key, unset_key

from app.local.home import write_private

#: All our settings begin so, in files and in the environment.
PREFIX = "MEATLIZARD_"


def read(path: Path) -> dict[str, str]:
    """The settings in the file, their names without the prefix; empty when there is no such file."""
    values = dotenv_values(path, interpolate=False)
    return {key.removeprefix(PREFIX): value for key, value in values.items() if value is not None}


def update(path: Path, values: dict[str, str], heading: str) -> None:
    """Sets these and leaves every other line as it is; a new file begins with the heading as a comment."""
    if not path.exists():
        write_private(path, "".join(f"# {line}\n" if line else "\n" for line in heading.splitlines()))
    there = read(path)
    for key, value in values.items():
        if there.get(key) != value:
            set_key(path, PREFIX + key, value, quote_mode="auto")


def remove(path: Path, names: list[str]) -> None:
    """Takes these settings out, where they are in; every other line stays."""
    there = read(path)
    for name in names:
        if name in there:
            unset_key(path, PREFIX + name, quote_mode="auto")
