"""The commands: known to Discord, for those who may, with answers that only the asker sees."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from app.core import redis
from app.services import accounts, backups, links, tokens, turns
from app.wire import names
from app.wire.errors import NotSignedIn
from app.wire.states import Door
from bots.server.commands import audit, offered
from tests.discord_people.hall import Hall
from tests.sandbox.people import Refused
from tests.support import caches
from tests.support.nodes import PlayedNode

ADMINISTRATORS = {"nodes", "drain", "ban", "unban", "backup", "audit", "metrics", "limits-set"}

NEEDED = {
    "ask": {"prompt": "Why?"},
    "sessions": {"conversation": "new"},
    "link": {"code": "AAAA-BBBB"},
    "drain": {"node": "home"},
    "limits-set": {"whose": "member", "kind": "prompts", "value": "none"},
}
"""Options without which a command is not to be had."""
SUGGESTED = {"model", "which", "conversation", "node", "account", "whose", "value"}
"""Options that name something there is: nobody is to know its name by heart."""


async def test_commands_are_told_once_and_again_when_they_changed(empty: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    async def puts() -> int:
        counts = await empty.control.get("requests")
        return sum(one["count"] for one in counts if one["method"] == "PUT" and one["route"].endswith("/commands"))

    def told() -> dict[str, Any]:
        return {one.body["name"]: one.body for one in empty.sandbox.world.store.commands.values()}

    for _ in range(2):
        async with empty.server_bot():
            await empty.run("status")
            await empty.whispered("Your role: member.")
    assert await puts() == 1
    assert {name for name, body in told().items() if str(body.get("default_member_permissions")) == "32"} >= ADMINISTRATORS
    monkeypatch.setattr(offered, "NOUNS", tuple(noun for noun in offered.NOUNS if noun is not audit))
    async with empty.server_bot():
        await empty.until(lambda: "audit" not in told())
    assert await puts() == 2


async def test_every_command_answers_before_any_server_does(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Discord gives three seconds; who it is and what they may is asked for afterwards."""
    entered, go = threading.Event(), threading.Event()

    def slow(does: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*given: Any) -> Any:
            entered.set()
            assert go.wait(60)
            return does(*given)

        return wait

    for name in ("enter", "offer", "unlink"):
        monkeypatch.setattr(links, name, slow(getattr(links, name)))
    commands = [one.body for one in hall.sandbox.world.store.commands.values()]
    assert len(commands) >= len(ADMINISTRATORS) + len(NEEDED)
    for body in commands:
        body["default_member_permissions"] = None
        entered.clear()
        go.clear()
        told = await hall.run(body["name"], **NEEDED.get(body["name"], {}))
        assert told["state"] in ("thinking", "answered"), body["name"]
        assert await asyncio.to_thread(entered.wait, 60), body["name"]
        go.set()
        assert {one["name"] for one in body.get("options", []) if one["name"] in SUGGESTED and not one.get("autocomplete")} == set()


async def test_administration_is_refused_to_members(hall: Hall) -> None:
    for name in ADMINISTRATORS:
        with pytest.raises(Refused):
            await hall.run(name, **NEEDED.get(name, {}))
    # Even where the guild lets everyone see them.
    for one in hall.sandbox.world.store.commands.values():
        one.body["default_member_permissions"] = None
    for name in ADMINISTRATORS:
        before = len(hall.whispers())
        await hall.run(name, **NEEDED.get(name, {}))
        await hall.until(lambda before=before: len(hall.whispers()) > before and hall.whispers()[-1])
        assert "Your role here, member, may not do this" in hall.whispers()[-1]
        assert "/link" in hall.whispers()[-1], "whoever runs the platform has the right on the page already"
    assert await hall.complete("ban", "account", "a") == []
    assert hall.messages() == []


@pytest.fixture
async def ruled(empty: Hall, monkeypatch):
    """A hall in which the guild's owner is an administrator of the platform by their role."""
    role = await empty.control("roles", name="keepers", permissions=str(1 << 5))
    await empty.control("members/role", member="cy", role=role["id"])
    monkeypatch.setenv("MEATLIZARD_DISCORD_ROLES", f"{role['id']}=admin")
    caches.forget()
    async with empty.server_bot():
        yield empty


async def test_administrators_see_nodes_and_the_trail(ruled: Hall, node: PlayedNode) -> None:
    redis.client().hset(names.node_key("home"), mapping={"battery": 80, "plugged": 0.0, "heat": 61.2})
    await ruled.run("nodes", member="cy")
    await ruled.whispered("**home**: ready, 0 of 2 busy, lane queue, stand-in", "battery 80 %, unplugged · 61 °C", member="cy")
    assert [one["value"] for one in await ruled.complete("drain", "node", "ho", member="cy")] == ["home"]
    await ruled.run("drain", member="cy", node="home")
    await ruled.whispered("home is given nothing new", member="cy")
    await ruled.run("drain", member="cy", node="home", undo=True)
    await ruled.whispered("home is given turns again", member="cy")
    await ruled.run("drain", member="cy", node="nowhere")
    await ruled.whispered("nowhere", member="cy")
    await ruled.run("backup", member="cy")
    await ruled.whispered("is being made", member="cy")
    await ruled.run("backup", member="cy", now=False)
    backup = (await asyncio.to_thread(backups.listed))[0]
    await ruled.whispered(f"{backup.id}: {backup.state}", member="cy")
    await ruled.run("audit", member="cy", most=25)
    await ruled.whispered("node.add", "user.add", "backup", "(discord)", member="cy")


async def test_a_ban_holds_at_every_door(ruled: Hall) -> None:
    await ruled.run("status")
    await ruled.whispered("Your role: member.")
    who = await ruled.person()
    token = tokens.new(who.name, "", tokens.DEFAULT, None, "test", Door.CLI)
    await ruled.run("ban", member="cy", account=who.name)
    await ruled.whispered("is shut", member="cy")
    with pytest.raises(NotSignedIn):
        await asyncio.to_thread(tokens.holder, token)
    await ruled.run("ask", prompt="Hello?")
    assert "Hello?" in await ruled.whispered("Your account here is shut.")
    assert [one["value"] for one in await ruled.complete("unban", "account", who.name[:9], member="cy")]
    await ruled.run("unban", member="cy", account=who.name)
    await ruled.whispered("may come in again", member="cy")
    await ruled.run("queue")
    await ruled.whispered("Nothing of yours waits.")


async def test_an_administrator_shuts_and_opens_nobody_of_their_own_height(ruled: Hall) -> None:
    for role in ("owner", "admin"):
        name = f"olga-{role}"
        await asyncio.to_thread(accounts.add, name, None, role, "test", Door.CLI)
        await ruled.run("ban", member="cy", account=name)
        await ruled.whispered("Only an owner may do this", member="cy")
        assert [one.disabled_at for one in await asyncio.to_thread(accounts.users) if one.name == name] == [None]
    await asyncio.to_thread(accounts.disable, "olga-admin", "test", Door.CLI)
    await ruled.run("unban", member="cy", account="olga-admin")
    await ruled.until(lambda: ruled.whispers("cy")[2:])
    await ruled.whispered("Only an owner may do this", member="cy")


async def test_stop_queue_and_retry(hall: Hall) -> None:
    await hall.run("ask", prompt="First")
    await hall.reads("number 1")
    await hall.run("queue")
    await hall.whispered("Waiting: number 1 in the queue", "In all, 1 wait.")
    offered = await hall.complete("stop", "which", "fir")
    assert [one["name"] for one in offered] == ["queued: First"]
    await hall.run("stop", which=offered[0]["value"])
    await hall.whispered("Stopped.")
    await hall.reads("Stopped.")
    await hall.run("stop")
    await hall.whispered("Nothing is being written for you")
    await hall.run("retry")
    assert len(await hall.reads("> First", "number 1")) == 2
    await hall.run("stop")
    await hall.reads("Stopped.")
    assert await asyncio.to_thread(turns.session_of, offered[0]["value"], (await hall.person()).id)


async def test_what_is_made_up_is_refused_in_words(hall: Hall) -> None:
    for command, options in (
        ("stop", {"which": "';drop table turns"}),
        ("sessions", {"conversation": "x" * 100}),
        ("transcript", {"conversation": "00000000-0000-0000-0000-000000000000"}),
        ("link", {"code": "\u202e\u0000😀😀😀😀😀😀"}),
        ("retry", {}),
    ):
        before = len(hall.whispers())
        await hall.run(command, **options)
        await hall.until(lambda before=before: len(hall.whispers()) > before and hall.whispers()[-1])
        assert "Something went wrong" not in hall.whispers()[-1], command
    for command, options in (("ask", {"prompt": "x" * 6001}), ("ask", {"word": "x"}), ("audit", {"most": 9999})):
        with pytest.raises(Refused):
            await hall.run(command, **options)
