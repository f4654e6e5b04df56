"""Application commands: offering them, keeping to the limits, who may use which."""

import discord
import pytest
from discord import app_commands

from bots.sandbox.config import Config
from tests.sandbox.people import Refused, when


def offer(bot, name="ask", **options):
    @bot.tree.command(name=name, description="Ask the model", **options)
    async def ask(interaction: discord.Interaction, prompt: str) -> None:
        await interaction.response.send_message(prompt)

    return ask


async def test_global_and_guild_commands_are_synced_and_listed(server, control):
    offer(server)
    synced = await server.tree.sync()
    assert [one.name for one in synced] == ["ask"]
    first = synced[0].id
    assert [one.id for one in await server.tree.fetch_commands()] == [first]
    assert (await server.tree.sync())[0].id == first
    server.tree.copy_global_to(guild=server.home)
    in_guild = await server.tree.sync(guild=server.home)
    assert in_guild[0].guild_id == server.home.id
    assert [one["id"] for one in await control("commands", member="ada", channel="general")] == [str(in_guild[0].id)]
    server.tree.clear_commands(guild=server.home)
    await server.tree.sync(guild=server.home)
    assert [one["id"] for one in await control("commands", member="ada", channel="general")] == [str(first)]
    await synced[0].edit(description="else")
    assert (await server.tree.fetch_command(first)).description == "else"
    await synced[0].delete()
    assert await server.tree.fetch_commands() == []


async def test_commands_are_checked(server, rest):
    path = f"/applications/{server.user.id}/commands"
    good = {"name": "ask", "description": "x", "type": 1}
    broken = [
        good | {"name": "Ask"},
        good | {"name": "a b"},
        good | {"name": "x" * 33},
        good | {"description": ""},
        good
        | {
            "options": [
                {"name": "a", "description": "x", "type": 3},
                {"name": "b", "description": "x", "type": 3, "required": True},
            ]
        },
        good | {"options": [{"name": f"o{n}", "description": "x", "type": 3} for n in range(26)]},
    ]
    for one in broken:
        assert (await rest("POST", path, json=one))[1]["code"] == 50035, one
    assert (await rest("PUT", path, json=[good, good]))[1]["code"] == 50035
    assert (await rest("PUT", path, json=[good | {"name": f"c{n}"} for n in range(101)]))[1]["code"] == 30032
    assert (await rest("GET", "/applications/1/commands"))[1]["code"] == 10002
    status, body, _ = await rest("POST", path, json=good)
    assert status == 201
    assert (await rest("POST", path, json=good))[0] == 200
    assert (await rest("GET", f"{path}/{body['id']}"))[1]["name"] == "ask"


class TestDailyCreates:
    @pytest.fixture
    def config(self):
        return Config(limits="discord", buckets={"command sync": (1000, 1.0)})

    async def test_two_hundred_a_day_and_place(self, sandbox, rest):
        application = next(one.id for one in sandbox.world.store.applications.values() if one.name == "Server-Bot")
        path = f"/applications/{application}/commands"

        def batch(start):
            return [{"name": f"c{number}", "description": "x"} for number in range(start, start + 100)]

        assert (await rest("PUT", path, json=batch(0)))[0] == 200
        # What is there already is no create.
        assert (await rest("PUT", path, json=batch(0)))[0] == 200
        assert (await rest("PUT", path, json=batch(100)))[0] == 200
        status, body, headers = await rest("PUT", path, json=batch(200))
        assert (status, body["code"]) == (429, 30034)
        assert body["retry_after"] > 80_000
        assert headers["Retry-After"]
        assert (await rest("PUT", f"/applications/{application}/guilds/{sandbox.guild}/commands", json=batch(0)))[
            0
        ] == 200
        sandbox.world.clock.advance(86_401)
        assert (await rest("PUT", path, json=batch(200)))[0] == 200


async def test_permissions_decide_who_sees_a_command(server, control):
    admins = app_commands.default_permissions(administrator=True)
    admins(offer(server, "drain"))
    offer(server)
    await server.tree.sync()
    assert [one["name"] for one in await control("commands", member="ada", channel="general")] == ["ask"]
    assert {one["name"] for one in await control("commands", member="owner", channel="general")} == {"ask", "drain"}
    with pytest.raises(Refused) as unknown:
        await control("run", member="ada", channel="general", command="drain", options={"prompt": "x"})
    assert unknown.value.code == 10063
    role = await control("roles", name="admins", permissions="8")
    await control("members/role", member="ada", role=role["id"])
    answer = await control("run", member="ada", channel="general", command="drain", options={"prompt": "x"})
    assert answer["state"] == "answered"
    with pytest.raises(Refused) as wrong:
        await control("run", member="ada", channel="general", command="ask", options={"other": "x"})
    assert wrong.value.code == 50035
    with pytest.raises(Refused) as missing:
        await control("run", member="ada", channel="general", command="ask")
    assert missing.value.code == 50035


async def test_direct_conversations_offer_their_bots_commands_only(server, client, control):
    offer(server)
    app_commands.guild_only()(offer(server, "drain"))
    await server.tree.sync()
    names = {}
    for bot in ("Server-Bot", "Client-Bot"):
        channel = await control("dm", member="ada", bot=bot)
        names[bot] = [one["name"] for one in await control("commands", member="ada", channel=channel["id"])]
    assert names == {"Server-Bot": ["ask"], "Client-Bot": []}


async def test_options_arrive_typed(server, control):
    got = {}
    group = app_commands.Group(name="limits", description="Limits")

    @group.command(name="set", description="Set one")
    async def set_limit(
        interaction: discord.Interaction,
        who: discord.Member,
        where: discord.TextChannel,
        most: app_commands.Range[int, 1, 10],
        soft: bool = False,
        role: discord.Role | None = None,
    ) -> None:
        got.update(who=who.name, where=where.name, most=most, soft=soft, role=role and role.name)
        await interaction.response.send_message("done", ephemeral=True)

    server.tree.add_command(group)
    await server.tree.sync()
    role = await control("roles", name="testers")
    dump = await control.get("dump")
    ada = next(one["id"] for one in dump["users"] if one["username"] == "ada")
    options = {"who": ada, "where": str(server.channel().id), "most": 3, "soft": True, "role": role["id"]}
    answer = await control("run", member="bob", channel="general", command="limits set", options=options)
    assert answer["state"] == "answered"
    assert got == {"who": "ada", "where": "general", "most": 3, "soft": True, "role": "testers"}
    with pytest.raises(Refused) as range_error:
        await control("run", member="bob", channel="general", command="limits set", options=options | {"most": 11})
    assert range_error.value.code == 50035
    await when(lambda: got)
