"""PostgreSQL away: replies in flight go on, finishing waits, and who asks anew is told to try again."""

import asyncio
from uuid import uuid4

import pytest

from app.core import redis
from app.services import turns
from app.stream import telling
from app.wire import names
from app.wire.inbox import Asked, Handed
from tests.faults.proxy import Wire
from tests.outages.conftest import Wires
from tests.support import nodes, tasks
from tests.support.long import LONG
from tests.support.nodes import PlayedNode
from tests.support.people import Member
from tests.support.servers import Servers
from tests.support.website import Site
from workers import inbox

AWAY_SECONDS = 30.0 if LONG else 1.0


async def test_away_in_the_middle_of_a_reply(
    servers: Servers, site: Site, ada: Member, wires: Wires, played: PlayedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "QUIET_SECONDS", AWAY_SECONDS / 10)  # The page is not closed for that silence either.
    async with site.page(ada, ada.session()) as page:
        turn = (await page.ask("Tell me."))["turn"]
        writing = await played.take()
        await writing.begin()
        await writing.say("One ")
        await page.hear("delta")
        wires.postgres.become(Wire.CUT)
        await writing.say("two ", "three.")
        while page.text(turn) != "One two three.":
            await page.hear("delta", turn=turn)
        # The outcome is handed in as a node does it, and taken in as a worker does.
        outcome = nodes.outcome(writing.job, writing.reply.text)
        await asyncio.to_thread(inbox.act, Handed(Asked.FINISH, "home", turn, 1, outcome).pack())
        asked = {"id": str(uuid4()), "text": "And another thing?", "parent": None}
        await page.send(type="prompt", **asked)
        refused = await page.hear("error", id=asked["id"])
        assert refused["code"] == "unavailable"
        assert "again" in refused["message"]
        await asyncio.sleep(AWAY_SECONDS)  # The outage itself.
        assert "done" not in page.kinds(), "nobody sees the end of what is not kept"
        wires.postgres.become(Wire.WHOLE)
        # What waited is a task of its own in the meantime; a worker gets to it.
        task = tasks.take(servers.redis, names.TURNS)
        assert task is not None
        name, words = task
        assert name == names.FINISH
        assert await asyncio.to_thread(turns.finish, *words)
        assert (await page.hear("done", turn=turn))["text"] == "One two three."
        await page.send(type="prompt", **asked)
        again = await page.hear("accepted", id=asked["id"])
        await played.answer("Go on.")
        await page.hear("done", turn=again["turn"])
        assert page.text(again["turn"]) == "Go on."
    assert redis.client().zcard(names.LEASES) == 0
