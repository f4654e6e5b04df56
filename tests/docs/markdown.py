"""Reading the project's documents."""

import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def links(document: Path) -> Iterator[str]:
    """Where a document's links and pictures lead."""
    yield from re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", document.read_text(encoding="utf-8")))


def anchors(document: Path) -> set[str]:
    """The headings of a document as a link's end names them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def quoted(name: str) -> set[str]:
    """What a document sets in `code`."""
    return set(re.findall(r"`([^`\n]+)`", FENCE.sub("", text(name))))


def rows(name: str) -> list[list[str]]:
    """The rows of all tables in a document, heads and rules left out."""
    lines = [line for line in text(name).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
