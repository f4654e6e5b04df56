"""The pages beside the chat: who sees which, what the list shows, and where those are sent who may not."""

import re

import pytest

from app.services.rights import RIGHTS, Rank, Right, may
from app.web.pages import templates
from app.web.panels import PANELS, Panel
from tests.support.people import member
from tests.support.website import Site

HTML = {"accept": "text/html"}


def test_each_role_has_all_that_the_one_below_it_has() -> None:
    assert RIGHTS[Rank.GUEST] < RIGHTS[Rank.MEMBER] < RIGHTS[Rank.ADMIN] < RIGHTS[Rank.OWNER] == frozenset(Right)
    assert not may("king", Right.CHAT)


@pytest.mark.parametrize("role", ["member", "admin", "owner"])
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.path)
async def test_a_panel_is_for_those_who_have_its_right(site: Site, servers: object, panel: Panel, role: str) -> None:
    async with site.browser(member("ada", role), follow_redirects=False) as browser:
        answer = await browser.get(panel.path, headers=HTML)
        # Flower's own pages stand behind that one: it leads to their first.
        fine = 307 if panel.path == "/flower" else 200
        assert answer.status_code == (fine if may(role, panel.right) else 403), answer.text
        shown = (await browser.get("/account", headers=HTML)).text
        assert (f'href="{panel.path}"' in shown) == may(role, panel.right)
        assert (f"<h1>{panel.title}</h1>" in answer.text) == (fine == 200 and may(role, panel.right))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.path)
async def test_the_unknown_are_sent_to_the_form_and_back(site: Site, servers: object, panel: Panel) -> None:
    async with site.browser(follow_redirects=False) as browser:
        answer = await browser.get(panel.path + "?hours=6", headers=HTML)
    where = panel.path.replace("/", "%2F") + "%3Fhours%3D6"
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={where}")


def test_no_form_hides_the_place_where_its_error_is_said() -> None:
    places = {name: re.findall(r'<p class="error"[^>]*>', templates.env.loader.get_source(templates.env, name)[0]) for name in templates.env.list_templates()}  # type: ignore[union-attr]
    assert {"tokens.html", "people.html", "login.html"} <= {name for name, found in places.items() if found}
    assert [name for name, found in places.items() if any(" hidden" in place for place in found)] == []
