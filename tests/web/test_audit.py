"""The audit page: read by those who may, filtered, and taken out as a file."""

import json

from app.services import accounts, tokens
from app.wire.states import Door
from tests.support.people import Member
from tests.support.website import Site

HTML = {"accept": "text/html"}


async def test_shows_filters_and_exports(site: Site, ada: Member) -> None:
    accounts.set_role("ada", "admin", "cli", Door.CLI)
    tokens.new("ada", "a program", ["chat", "read"], None, "cli", Door.CLI)
    async with site.browser(ada) as browser:
        page = await browser.get("/admin/audit", headers=HTML)
        assert page.status_code == 200
        assert "user.role" in page.text
        assert "role: admin" in page.text
        filtered = await browser.get("/admin/audit?action=token.new", headers=HTML)
        assert "role: admin" not in filtered.text
        assert "scopes: chat read" in filtered.text
        assert "No record fits." in (await browser.get("/admin/audit?actor=nobody", headers=HTML)).text
        file = await browser.get("/admin/audit.jsonl?action=user")
        assert file.headers["content-disposition"].startswith("attachment")
        assert {json.loads(line)["action"] for line in file.text.splitlines()} == {"user.add", "user.role"}
        sound = await browser.get("/admin/audit/verify", headers=HTML)
        assert "records are sound" in sound.text
        for bad in ("since=yesterday", "before=0", "before=x", f"actor={'a' * 200}"):
            refused = await browser.get(f"/admin/audit?{bad}", headers=HTML)
            assert refused.status_code in (400, 422), bad
            assert "Back to your sessions" in refused.text, bad


async def test_is_not_for_members(site: Site, ada: Member) -> None:
    async with site.browser(ada) as browser:
        for path in ("/admin/audit", "/admin/audit/verify", "/admin/audit.jsonl"):
            assert (await browser.get(path)).status_code == 403, path
