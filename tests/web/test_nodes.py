"""The nodes' page: everybody sees which answer and how their machines are; an engine's trouble is for administrators."""

import pytest

from tests.support import nodes
from tests.support.people import member
from tests.support.website import Site

TOLD = {"tokens_per_second": 42.4, "memory": 3 << 30, "resident": 1 << 29, "free": 9 << 30, "battery": 80, "plugged": 0.0, "heat": 61.2}
TROUBLE = "out of memory: a line of the engine's own"


@pytest.mark.parametrize("role", ["member", "admin"])
async def test_figures_are_for_all_and_trouble_for_administrators(site: Site, servers: object, role: str) -> None:
    nodes.ready("attic", slots=3, **TOLD)
    nodes.ready("cellar", state="degraded", error=TROUBLE)
    async with site.browser(member("ada", role)) as browser:
        page = (await browser.get("/nodes")).text
    for words in ("attic", "ready", "0 of 3", "stand-in", "42", "3.5 GB", "9.0 GB free", "80 %", "unplugged", "61 °C", "cellar", "degraded"):
        assert words in page, words
    assert "<dd>3</dd>" in page, "the free slots are those of the nodes that are ready"
    assert (TROUBLE.split(":", maxsplit=1)[0] in page) == (role == "admin")


async def test_none_at_all_is_said(site: Site, servers: object) -> None:
    async with site.browser(member("ada")) as browser:
        page = (await browser.get("/nodes")).text
    assert "There is no node yet" in page
    assert "every prompt waits" in page
