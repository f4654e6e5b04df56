"""One's own data by the page: taken out as a file, and deleted once one's name was typed."""

import io
import zipfile

from app.services import erasure
from tests.support.people import Member
from tests.support.website import Site


async def test_taken_out(site: Site, ada: Member) -> None:
    session = ada.session()
    async with site.browser(ada) as browser:
        answer = await browser.get("/api/me/export")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert f"conversations/{session}.md" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    async with site.browser() as nobody:
        assert (await nobody.get("/api/me/export")).status_code == 401


async def test_deleted_only_by_ones_own_name(site: Site, ada: Member, bob: Member) -> None:
    async with site.browser(ada) as browser:
        for wrong in ({"name": "bob"}, {"name": ""}, {}):
            assert (await browser.request("DELETE", "/api/me", json=wrong)).status_code in (400, 422)
        assert erasure.waiting() == []
        assert (await browser.request("DELETE", "/api/me", json={"name": " Ada "})).status_code == 202
        assert (await browser.get("/api/me")).status_code == 401
    assert erasure.waiting() == [ada.id]
