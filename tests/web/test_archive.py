"""The archive and the transcripts over real HTTP: whose they are, what is in them, and what shows while they wait."""

import json
import subprocess
import sys
from uuid import uuid4

from app.services import session_list, transcripts
from tests.support import nodes
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.website import Site


def talked(who: Member) -> str:
    session = who.session()
    nodes.ready()
    who.ask(session, "Why <b>&</b> how?")
    [job] = nodes.jobs()
    nodes.finish(job, "Because.\n\n* one")
    return session


async def test_a_transcript_is_its_owners_alone(site: Site, ada: Member, bob: Member) -> None:
    session = talked(ada)
    async with site.browser(bob) as browser:
        for method, path in [
            ("GET", f"/api/sessions/{session}/transcript"),
            ("POST", f"/api/sessions/{session}/close"),
            ("POST", f"/api/sessions/{session}/reopen"),
            ("DELETE", f"/api/archive/{session}"),
            ("GET", f"/api/sessions/{uuid4()}/transcript"),
        ]:
            assert (await browser.request(method, path)).status_code == 404, path
    assert session_list.page(ada.id).sessions


async def test_is_downloaded_open_and_closed(site: Site, ada: Member) -> None:
    session = talked(ada)
    async with site.browser(ada) as browser:
        open_one = await browser.get(f"/api/sessions/{session}/transcript?format=jsonl")
        assert open_one.headers["content-disposition"].startswith("attachment;")
        assert (await browser.post(f"/api/sessions/{session}/close")).status_code == 204
        assert (await browser.get(f"/api/sessions/{session}")).status_code == 404
        transcripts.upload(session)
        closed = await browser.get(f"/api/sessions/{session}/transcript?format=jsonl")
        words = await browser.get(f"/api/sessions/{session}/transcript")
        [one] = (await browser.get("/api/archive")).json()["sessions"]
    first, last = (
        [json.loads(line) for line in answer.text.splitlines()] for answer in (open_one, closed)
    )
    assert [line["kind"] for line in first] == ["session", "message", "message", "end"]
    assert last[1:] == first[1:]
    assert last[0]["closed_at"]
    assert words.text.startswith("# Why <b>&</b> how?\n")
    assert "## ada\n" in words.text
    assert "Because.\n\n* one" in words.text
    assert (one["id"], one["transcript"]) == (session, "stored")


async def test_the_page_shows_what_waits_and_what_is_stored(site: Site, ada: Member) -> None:
    session = talked(ada)
    async with site.browser(ada) as browser:
        await browser.post(f"/api/sessions/{session}/close")
        waiting = (await browser.get("/archive")).text
        transcripts.upload(session)
        stored = (await browser.get("/archive")).text
        assert (await browser.delete(f"/api/archive/{session}")).status_code == 204
        empty = (await browser.get("/archive")).text
    assert "waits for the object store" in waiting
    assert "Why &lt;b&gt;&amp;&lt;/b&gt; how?" in waiting
    assert "mark-ok" in stored
    assert session not in empty


def test_the_command_writes_it_and_the_trail_tells(servers: Servers, ada: Member) -> None:
    session = talked(ada)
    command = [sys.executable, "-m", "app.cli", "transcript"]
    done = subprocess.run([*command, "export", session], capture_output=True, text=True, check=True)
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["session", "message", "message", "end"]
    missing = subprocess.run([*command, "export", str(uuid4())], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "not here" in missing.stderr
    transcripts.enqueue(session, "closed")
    listed = subprocess.run([*command, "list", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(listed.stdout)["waiting"][0]["session"] == session
    from sqlalchemy import select

    from app.core.db import transaction
    from app.core.models import AuditRecord

    with transaction() as tx:
        assert session in tx.scalars(select(AuditRecord.subject).where(AuditRecord.action == "transcript.export")).all()
