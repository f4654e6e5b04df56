"""Every test that the table of `docs/security.md` leans on exists."""

import re
from pathlib import Path

NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`")


def test_each_test_that_is_named_exists(repository: Path) -> None:
    found = NAMED.findall((repository / "docs" / "security.md").read_text())
    assert len(found) > 50, "the table is read another way now"
    for path, name in found:
        text = (repository / path).read_text()
        assert not name or re.search(rf"^(async )?def {name}\(", text, re.M), f"{path}::{name}"


def test_each_line_of_the_table_says_what_holds_it(repository: Path) -> None:
    table = (repository / "docs" / "security.md").read_text().partition("| chapter |")[2]
    for line in table.splitlines()[2:]:
        if not line.startswith("|"):
            break
        assert line.split("|")[3].strip(), line
