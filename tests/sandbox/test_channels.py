"""Channels, categories and their caps; threads; what a restart keeps."""

import discord
import pytest

from bots.sandbox.config import Config
from bots.sandbox.records import CATEGORY, Channel
from bots.sandbox.server import serving
from tests.sandbox.people import SEEING, when


def crowd(sandbox, count, parent=None):
    """Channels by the dozen, straight into the store."""
    for number in range(count):
        channel = Channel(sandbox.world.new_id(), 0, sandbox.guild, f"c-{number}", parent)
        sandbox.world.store.channels[channel.id] = channel


async def test_a_channels_life(server, client):
    category = await server.guild.create_category("Sessions")
    channel = await server.guild.create_text_channel("My Session", category=category, topic="about")
    assert (channel.name, channel.category_id, channel.topic) == ("my-session", category.id, "about")
    await when(lambda: ("create", "my-session") in client.events)
    await channel.edit(name="other", topic="else")
    await when(lambda: ("update", "other") in client.events)
    await channel.edit(category=None, sync_permissions=False)
    assert (await server.fetch_channel(channel.id)).category_id is None
    await channel.delete(reason="old")
    await when(lambda: ("gone", "other") in client.events)
    with pytest.raises(discord.NotFound) as gone:
        await channel.send("x")
    assert gone.value.code == 10003
    inside = await category.create_text_channel("inside")
    await category.delete()
    await when(lambda: server.guild.get_channel(inside.id).category_id is None)


async def test_a_channel_takes_its_categorys_overwrites(server):
    hidden = {server.guild.default_role: discord.PermissionOverwrite(view_channel=False)}
    hidden[server.guild.me] = discord.PermissionOverwrite(view_channel=True)
    category = await server.guild.create_category("Sealed", overwrites=hidden)
    channel = await category.create_text_channel("x")
    assert channel.overwrites == category.overwrites
    assert channel.permissions_synced


async def test_five_hundred_channels_a_guild(server, sandbox):
    crowd(sandbox, 498)
    with pytest.raises(discord.HTTPException) as full:
        await server.guild.create_text_channel("one too many")
    assert (full.value.status, full.value.code) == (400, 30013)
    await server.guild.get_channel(server.channel().id).create_thread(
        name="threads do not count", type=discord.ChannelType.public_thread
    )


async def test_fifty_channels_a_category(server, sandbox):
    category = Channel(sandbox.world.new_id(), CATEGORY, sandbox.guild, "full")
    sandbox.world.store.channels[category.id] = category
    crowd(sandbox, 50, category.id)
    with pytest.raises(discord.HTTPException) as full:
        await server.guild.create_text_channel("51", category=discord.Object(category.id))
    assert full.value.code == 50035
    assert (
        "CHANNEL_PARENT_MAX_CHANNELS" in str(full.value.response)
        or "Maximum number of channels in category" in full.value.text
    )
    loose = await server.guild.create_text_channel("loose")
    with pytest.raises(discord.HTTPException):
        await loose.edit(category=discord.Object(category.id))


async def test_names_and_parents_are_checked(server, rest, sandbox):
    for body, field in (
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "parent_id": "1"}, "parent_id"),
    ):
        status, answer, _ = await rest("POST", f"/guilds/{sandbox.guild}/channels", json=body)
        assert (status, answer["code"]) == (400, 50035)
        assert answer["errors"][field]["_errors"][0]["code"]


async def test_private_threads_are_for_those_in_them(invite, server, client, control, sandbox):
    thread = await server.channel().create_thread(
        name="quiet", type=discord.ChannelType.private_thread, invitable=False
    )
    assert thread.me is not None
    sent = await thread.send(f"<@{client.user.id}> are you there?")
    assert client.heard == []
    with pytest.raises(discord.Forbidden):
        await client.fetch_channel(thread.id)
    await thread.add_user(discord.Object(client.user.id))
    await when(lambda: client.guild.get_thread(thread.id))
    await thread.send(f"<@{client.user.id}> now?")
    await when(lambda: client.heard)
    assert client.heard[0].channel.parent_id == server.channel().id
    assert [one.id async for one in client.guild.get_thread(thread.id).history()][-1] == sent.id
    await thread.remove_user(discord.Object(client.user.id))
    await when(lambda: client.guild.get_thread(thread.id) is None)
    await thread.edit(archived=True)
    assert [one.id async for one in server.channel().archived_threads(private=True)] == [thread.id]
    await thread.send("which opens it again")
    await when(lambda: not (server.guild.get_thread(thread.id) or thread).archived)
    assert thread.id in [one.id for one in await server.guild.active_threads()]
    await thread.delete()
    await when(lambda: ("thread gone", thread.id) in server.events)


async def test_threads_come_and_go_with_their_channels_overwrites(server, client):
    thread = await server.channel().create_thread(name="talk", type=discord.ChannelType.public_thread)
    await when(lambda: client.guild.get_thread(thread.id))
    peer = await server.guild.fetch_member(client.user.id)
    await server.channel().set_permissions(peer, view_channel=False)
    await when(lambda: client.guild.get_thread(thread.id) is None)
    await server.channel().set_permissions(peer, overwrite=None)
    await when(lambda: client.guild.get_thread(thread.id))


async def test_public_threads_and_those_from_messages(server, client):
    message = await server.channel().send("let us talk")
    thread = await message.create_thread(name="talk")
    assert thread.id == message.id
    await when(lambda: ("thread", "talk") in client.events)
    with pytest.raises(discord.HTTPException) as twice:
        await message.create_thread(name="again")
    assert twice.value.code == 160004
    await client.guild.get_thread(thread.id).send("I follow")
    assert {one.id for one in await thread.fetch_members()} == {server.user.id, client.user.id}
    await thread.edit(locked=True)
    with pytest.raises(discord.Forbidden):
        await client.guild.get_thread(thread.id).edit(locked=False)
    with pytest.raises(discord.HTTPException) as locked:
        await client.guild.get_thread(thread.id).send("locked?")
    assert locked.value.code == 160005


async def test_a_restart_keeps_everything(tmp_path):
    from bots.api import use_api
    from tests.sandbox.people import Bot

    config = Config(limits="off", state=tmp_path / "state.json")
    async with serving(config) as sandbox:
        use_api(sandbox.api)
        token, guild = sandbox.token("Server-Bot"), sandbox.guild
        control_token = sandbox.world.store.state.control_token
        bot = await Bot(token, guild, SEEING).up()
        channel = await bot.guild.create_text_channel("kept")
        message = await channel.send("kept too", nonce="the-nonce", file=discord.File(tmp_path / "state.json", "f.bin"))
        await bot.down()
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    async with serving(config) as sandbox:
        use_api(sandbox.api)
        assert (sandbox.token("Server-Bot"), sandbox.guild) == (token, guild)
        assert sandbox.world.store.state.control_token == control_token
        bot = await Bot(token, guild, SEEING).up()
        found = [one async for one in bot.channel("kept").history()]
        assert [one.id for one in found] == [message.id]
        assert (await found[0].attachments[0].read()).startswith(b"{")
        # The nonce is remembered, and ids go on growing.
        again = await bot.channel("kept").send("kept too", nonce="the-nonce")
        assert again.id == message.id
        assert (await bot.channel("kept").send("new")).id > message.id
        await bot.down()
    use_api()
