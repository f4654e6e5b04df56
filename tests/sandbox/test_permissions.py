"""Permissions: what is hidden is hidden everywhere, and nobody gives what they do not hold."""

import discord
import pytest

from bots.sandbox import permissions as may
from tests.sandbox.people import when

HIDDEN = discord.PermissionOverwrite(view_channel=False)
OPEN = discord.PermissionOverwrite(view_channel=True, send_messages=True, read_message_history=True)


async def private(server, *others, name="sealed", category=None):
    overwrites = {server.guild.default_role: HIDDEN, server.guild.me: OPEN}
    overwrites |= dict.fromkeys(others, OPEN)
    return await server.guild.create_text_channel(name, overwrites=overwrites, category=category)


async def test_a_hidden_channel_is_not_there(server, client, control, rest):
    channel = await private(server)
    await channel.send(f"<@{client.user.id}> secret")
    await control.say("ada", "general", f"<@{client.user.id}> open")
    await when(lambda: client.heard)
    assert client.said == [f"<@{client.user.id}> open"]
    assert client.guild.get_channel(channel.id) is None
    assert ("create", "sealed") not in client.events
    with pytest.raises(discord.Forbidden) as refused:
        await client.fetch_channel(channel.id)
    assert refused.value.code == 50001
    with pytest.raises(discord.Forbidden):
        await client.get_partial_messageable(channel.id).send("x")
    assert [one.name for one in await client.guild.fetch_channels()] == ["Text Channels", "general"]
    assert (await rest("GET", f"/channels/{channel.id}/messages", "Client-Bot"))[1]["code"] == 50001
    assert (await rest("GET", "/channels/12345"))[1] == {"message": "Unknown Channel", "code": 10003}


async def test_a_channel_appears_and_disappears_with_the_overwrite(server, client):
    channel = await private(server)
    peer = await server.guild.fetch_member(client.user.id)
    await channel.set_permissions(peer, overwrite=OPEN)
    await when(lambda: ("create", "sealed") in client.events)
    await channel.send(f"<@{client.user.id}> now you hear")
    await when(lambda: client.heard)
    await channel.set_permissions(peer, overwrite=None)
    await when(lambda: ("gone", "sealed") in client.events)
    assert client.guild.get_channel(channel.id) is None


async def test_a_role_opens_and_closes_channels(server, client, control, sandbox):
    role = await control("roles", name="readers", permissions="0")
    channel = await private(server)
    await when(lambda: server.guild.get_role(int(role["id"])))
    await channel.set_permissions(server.guild.get_role(int(role["id"])), overwrite=OPEN)
    assert client.guild.get_channel(channel.id) is None
    await control("members/role", member="Client-Bot", role=role["id"])
    await when(lambda: client.guild.get_channel(channel.id))
    await control("members/role", member="Client-Bot", role=role["id"], give=False)
    await when(lambda: client.guild.get_channel(channel.id) is None)


async def test_history_without_its_permission_is_empty(server, client, control):
    channel = await private(server, discord.Object(client.user.id, type=discord.Member))
    sent = await channel.send("old")
    await control("permissions", member="Client-Bot", channel=str(channel.id), take=may.READ_MESSAGE_HISTORY)
    mine = client.get_partial_messageable(channel.id)
    assert [one async for one in mine.history()] == []
    with pytest.raises(discord.Forbidden) as refused:
        await mine.fetch_message(sent.id)
    assert refused.value.code == 50013


async def test_sending_needs_its_permission(server, client, control):
    channel = client.channel()
    await control("permissions", member="Client-Bot", channel="general", take=may.SEND_MESSAGES)
    with pytest.raises(discord.Forbidden) as refused:
        await channel.send("x")
    assert refused.value.code == 50013
    await control("permissions", member="Client-Bot", channel="general", give=may.SEND_MESSAGES)
    await channel.send("x")
    await control("permissions", member="Client-Bot", channel="general", take=may.ATTACH_FILES)
    with pytest.raises(discord.Forbidden):
        await channel.send(file=discord.File(__file__))


async def test_a_bot_gives_only_what_it_holds(server, client, control, rest):
    with pytest.raises(discord.Forbidden) as refused:
        await client.guild.create_text_channel("mine")
    assert refused.value.code == 50013
    kick = discord.PermissionOverwrite(kick_members=True)
    with pytest.raises(discord.Forbidden):
        await server.guild.create_text_channel("x", overwrites={server.guild.me: kick})
    channel = await private(server)
    with pytest.raises(discord.Forbidden):
        await channel.set_permissions(server.guild.default_role, overwrite=kick)
    with pytest.raises(discord.Forbidden):
        await channel.set_permissions(server.guild.me, manage_roles=True)
    body = {"name": "above", "permissions": str(may.ADMINISTRATOR)}
    assert (await rest("POST", f"/guilds/{server.guild.id}/roles", json=body))[1]["code"] == 50013


async def test_taking_a_permission_from_the_bot_shows_at_once(server, control):
    await control("permissions", member="Server-Bot", take=may.MANAGE_CHANNELS)
    await when(lambda: not server.guild.me.guild_permissions.manage_channels)
    with pytest.raises(discord.Forbidden):
        await server.guild.create_text_channel("x")


async def test_overwrites_stack_as_discord_says(sandbox, control):
    world = sandbox.world
    guild = next(iter(world.store.guilds.values()))
    ada = next(one for one in world.store.users.values() if one.name == "ada")
    first = await control("roles", name="first", permissions="0")
    second = await control("roles", name="second", permissions="0")
    for role in (first, second):
        await control("members/role", member="ada", role=role["id"])
    view, send = may.VIEW_CHANNEL, may.SEND_MESSAGES
    everyone = {"id": guild.id, "type": 0, "deny": view}
    deny = {"id": int(first["id"]), "type": 0, "deny": view | send}
    allow = {"id": int(second["id"]), "type": 0, "allow": view}
    own = {"id": ada.id, "type": 1, "allow": send}

    async def left(*overwrites):
        shape = await control("channels", name="x", permission_overwrites=list(overwrites))
        return may.in_channel(world.store, world.store.channels[int(shape["id"])], ada.id)

    assert await left(everyone) == 0
    assert await left(everyone, deny) == 0
    one = await left(everyone, deny, allow)
    assert one & view
    assert not one & send
    # Without SEND_MESSAGES there is no attaching or embedding either.
    assert not one & may.ATTACH_FILES
    assert await left(everyone, deny, allow, own) & (view | send) == view | send
    owner = next(one for one in world.store.users.values() if one.name == "owner")
    shape = await control("channels", name="y", permission_overwrites=[everyone])
    assert may.may_view(world.store, world.store.channels[int(shape["id"])], owner.id)


async def test_roles_stand_above_each_other(server, control, sandbox, rest):
    high = await server.guild.create_role(name="low")
    assert high.position == 1
    bots = next(one for one in sandbox.world.store.roles.values() if one.name == "Client-Bot")
    bots.position = 90
    status, body, _ = await rest("PATCH", f"/guilds/{sandbox.guild}/roles/{bots.id}", json={"name": "mine"})
    assert (status, body["code"]) == (403, 50013)
    await high.edit(name="renamed", mentionable=True)
    await when(lambda: server.guild.get_role(high.id).name == "renamed")
    ada = await server.guild.fetch_member(next(k for k, v in sandbox.world.store.users.items() if v.name == "ada"))
    await ada.add_roles(high)
    assert high.id in [one.id for one in (await server.guild.fetch_member(ada.id)).roles]
    await high.delete()
    await when(lambda: server.guild.get_role(high.id) is None)


async def test_a_member_who_goes_takes_their_view_along(client, control, rest, sandbox):
    await control("members/remove", member="Client-Bot")
    await when(lambda: client.get_guild(sandbox.guild) is None)
    assert (await rest("GET", f"/guilds/{sandbox.guild}", "Client-Bot"))[1]["code"] == 10004
