"""What people see of figures: the platform's as a picture, their own limits, and limits that administrators change."""

import asyncio
import struct

import pytest

from app.core.db import transaction
from app.core.models import AuditRecord
from app.services import limits, plots
from app.services.limits import Kind
from app.wire.states import Door
from tests.discord_people.hall import Hall
from tests.sandbox.people import Refused
from tests.support import caches
from tests.support.people import Member


@pytest.fixture
async def ruled(empty: Hall, monkeypatch):
    """A hall in which the guild's owner is an administrator of the platform by their role."""
    role = await empty.control("roles", name="keepers", permissions=str(1 << 5))
    await empty.control("members/role", member="cy", role=role["id"])
    monkeypatch.setenv("MEATLIZARD_DISCORD_ROLES", f"{role['id']}=admin")
    caches.forget()
    async with empty.server_bot():
        yield empty


async def test_the_figures_come_as_a_picture_that_only_the_asker_sees(ruled: Hall) -> None:
    store = ruled.sandbox.world.store
    told = await ruled.run("metrics", member="cy", kind="turns", hours=3)
    assert told["state"] == "thinking"
    sent = (await ruled.until(lambda: [one for one in store.messages.values() if one.attachments]))[0]
    assert sent.only_for == ruled.id("cy")
    assert (sent.attachments[0].filename, sent.attachments[0].content_type) == ("metrics-turns-3h.png", "image/png")
    picture = store.file(sent.attachments[0].id)
    assert picture is not None
    assert picture.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", picture[16:24])
    assert width > 600 < height * 2
    offered = next(one.body for one in store.commands.values() if one.body["name"] == "metrics")
    assert {one["value"] for one in offered["options"][0]["choices"]} == {"all", *plots.TITLES}
    for wrong in ({"kind": "nonsense"}, {"hours": 721}, {"hours": 0}):
        with pytest.raises(Refused):
            await ruled.run("metrics", member="cy", **wrong)
    assert ruled.messages() == []


async def test_everybody_sees_what_is_left_for_them(ruled: Hall) -> None:
    await asyncio.to_thread(limits.set_limit, "member", Kind.PROMPTS, 7, "test", Door.CLI)
    await ruled.run("limits")
    await ruled.whispered("- prompts a minute: 7 of 7 left", "- tokens a day: without limit", "- open pages: 50 of 50 left")
    await ruled.run("ask", prompt="One")
    await ruled.reads("number 1")
    await ruled.run("limits")
    await ruled.whispered("- prompts a minute: 6 of 7 left, more <t:")
    # Whose role in the guild gives them more is told of what that role has.
    await ruled.run("limits", member="cy")
    await ruled.whispered("- prompts a minute: 120 of 120 left", member="cy")


async def test_administrators_change_limits(ruled: Hall, ada: Member) -> None:
    offered = await ruled.complete("limits-set", "whose", "mem", member="cy", kind="prompts", value="1")
    assert [(one["name"], one["value"]) for one in offered] == [("member (role)", "role:member")]
    offered = await ruled.complete("limits-set", "whose", "ada", member="cy", kind="prompts", value="1")
    assert [(one["name"], one["value"]) for one in offered] == [("ada", "user:ada")]
    await ruled.run("limits-set", member="cy", whose="user:ada", kind="tokens", value="1,000")
    await ruled.whispered("Tokens a day of user:ada: 1,000", member="cy")
    assert {one.kind: one.of for one in await asyncio.to_thread(limits.left, ada.id)}[Kind.TOKENS] == 1000
    await ruled.run("limits-set", member="cy", whose="ada", kind="prompts", value="none")
    await ruled.whispered("Prompts a minute of ada: without limit", member="cy")
    # Set once, it is offered under its name, and not twice.
    offered = await ruled.complete("limits-set", "whose", "ada", member="cy", kind="prompts", value="1")
    assert [one["value"] for one in offered] == [f"user:{ada.id}"]
    await ruled.run("limits-set", member="cy", whose=f"user:{ada.id}", kind="tokens", value="default")
    await ruled.whispered("what it is by itself", member="cy")
    held = {one.kind: one.of for one in await asyncio.to_thread(limits.left, ada.id)}
    assert (held[Kind.PROMPTS], held[Kind.TOKENS]) == (None, None)
    for whose, value, why in (("nobody", "1", "There is no 'nobody'"), ("ada", "many", "give a number, none or default")):
        await ruled.run("limits-set", member="cy", whose=whose, kind="prompts", value=value)
        await ruled.whispered(why, member="cy")
    with transaction() as tx:
        trail = tx.query(AuditRecord).filter_by(action="limit.set").all()
        assert {(one.actor[:8], one.door) for one in trail} == {("discord-", "discord")}
        assert len(trail) == 3
