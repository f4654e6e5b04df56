"""Flower: behind the platform's login, with the tasks of before its restart, and without a word of what they carry."""

import base64
import hashlib
import re
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from celery import Celery

from app.core import broker, presence
from app.core.config import settings
from app.services import accounts
from app.wire import names, shown
from app.wire.states import Door
from tests.support.containers import ProcessContainer
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.waiting import until_async
from tests.support.website import Site

MARKER = "marmalade on the shelf "
HTML = {"accept": "text/html"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["01a207fd-8525-7142-a24c-bb06059f5bc8", 1, "home"], "('01a207fd-8525-7142-a24c-bb06059f5bc8', 1, 'home')"),
        ([MARKER], "(<23 characters>,)"),
        (["x" * 65, {"text": MARKER}, [MARKER], None, 1.5], "(<65 characters>, <1 entries>, <1 entries>, None, 1.5)"),
        ([], "()"),
    ],
)
def test_arguments_tell_ids_and_sizes(given: list[object], told: str) -> None:
    assert shown.arguments(given) == told


def test_every_application_that_sends_is_discreet(servers: Servers, repository: Path) -> None:
    sent: list[dict[str, str]] = []
    app: Celery = broker.celery()
    message = app.amqp.create_task_message(str(uuid4()), names.FINISH, (MARKER * 40,), {"text": MARKER}, argsrepr=MARKER)
    sent.append(message.headers)
    assert MARKER not in str(sent)
    for path in ("app/core/broker.py", "workers/inference/app.py"):
        assert 'amqp="celeryconfig:Discreet"' in (repository / path).read_text()


async def test_is_for_administrators_and_remembers(site: Site, servers: Servers, ada: Member, tmp_path: Path) -> None:
    turn = str(uuid4())
    home = {"MEATLIZARD_HOME": str(servers.home.path)}
    worker = ProcessContainer("worker", ["worker"], tmp_path, home, " ready.")
    flower = ProcessContainer("flower", ["flower"], tmp_path, home, "")
    port = settings().flower_port
    try:
        async with site.browser(ada, follow_redirects=False) as browser:

            async def answers() -> bool:
                return (await browser.get("/flower/tasks", headers=HTML)).status_code == 200

            async def knows() -> bool:
                return turn in (await browser.get("/flower/api/tasks?limit=100")).text

            assert (await browser.get("/flower/tasks", headers=HTML)).status_code == 403
            accounts.set_role("ada", "admin", "test", Door.CLI)
            await until_async(answers, 60)
            worker.ready()
            await until_async(lambda: _workers(browser))
            broker.enqueue(names.FINISH, turn, 1, "home", MARKER * 40)
            await until_async(knows)
            assert "flower" in {one["process"] for one in presence.processes()}, "Prometheus sees this process like any other"
            tasks = (await browser.get("/flower/api/tasks?limit=100")).json()
            [one] = [task for task in tasks.values() if turn in task["args"]]
            assert one["name"] == names.FINISH
            pages = [await browser.get(f"/flower/{path}", headers=HTML) for path in ("", "tasks", "broker", f"task/{one['uuid']}")]
            assert [page.status_code for page in pages] == [200] * 4
            # Its script fills the first page only below this very address.
            first = await browser.get("/flower", headers=HTML)
            assert (first.status_code, first.headers["location"]) == (307, "/flower/")
            for page in (*pages, await browser.get("/flower/api/tasks")):
                assert "marmalade" not in page.text
                assert "'unsafe-inline'" not in page.headers["content-security-policy"].partition("style-src")[0]
            # The one script inside a page runs: its hash is the policy's.
            [inline] = re.findall(r'<script type="text/javascript">(.*?)</script>', pages[0].text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in pages[0].headers["content-security-policy"]
            assert (await browser.get("/flower/static/js/flower.js")).headers["content-type"].startswith("text/javascript")
            refused = await browser.post(f"/flower/api/task/revoke/{one['uuid']}")
            assert refused.status_code == 403
            flower.stop()
            assert (await browser.get("/flower/tasks")).status_code == 503
            flower.start()
            await until_async(answers, 60)
            assert await knows()
        async with httpx.AsyncClient() as stranger:
            for path in ("tasks", "api/tasks", "metrics"):
                assert (await stranger.get(f"http://127.0.0.1:{port}/flower/{path}")).status_code == 401, path
            # Of all that it answers, this alone needs no password: that it is there.
            assert (await stranger.get(f"http://127.0.0.1:{port}/flower/healthcheck")).text == "OK"
        async with site.browser(follow_redirects=False) as nobody:
            assert (await nobody.get("/flower/tasks")).status_code == 401
    finally:
        worker.teardown()
        flower.teardown()


async def _workers(browser: httpx.AsyncClient) -> bool:
    return "worker@" in (await browser.get("/flower/workers?json=1")).text
