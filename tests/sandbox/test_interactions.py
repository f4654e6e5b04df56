"""Interactions: answering in time, deferring, following up, buttons; and being late."""

import asyncio

import discord
import pytest
from discord import app_commands

from tests.sandbox.people import Refused, when


@pytest.fixture
async def caught(server):
    """A server whose /ask only keeps the interaction, for the test to answer."""
    interactions = []

    @server.tree.command(name="ask", description="Ask")
    async def ask(interaction: discord.Interaction, prompt: str = "") -> None:
        interactions.append(interaction)

    await server.tree.sync()
    return interactions


async def ask(control, caught, member="ada"):
    shown = await control("run", member=member, channel="general", command="ask", wait=False)
    await when(lambda: caught)
    return shown["id"], caught.pop()


async def test_a_plain_answer(control, caught, server, client):
    key, interaction = await ask(control, caught)
    assert (interaction.user.name, interaction.channel.name, interaction.guild.id) == ("ada", "general", server.home.id)
    answered = await interaction.response.send_message("forty-two")
    assert answered.message_id
    shown = await control.get("interaction", id=key)
    assert shown["state"] == "answered"
    assert shown["messages"][0]["content"] == "forty-two"
    assert shown["messages"][0]["type"] == 20
    # Others hear it as a message, without its content when they may not have it.
    await when(lambda: client.heard and server.heard)
    assert (server.said, client.said) == (["forty-two"], [""])
    assert server.heard[0].interaction_metadata.user.name == "ada"
    original = await interaction.original_response()
    await original.edit(content="forty-three")
    await when(lambda: server.edits)
    await interaction.delete_original_response()
    assert (await control.get("interaction", id=key))["messages"] == []
    history = [one async for one in server.channel().history()]
    assert history == []


async def test_answering_twice(control, caught, server):
    _, interaction = await ask(control, caught)
    await interaction.response.send_message("once")
    # discord.py itself would refuse; a second process would not.
    interaction.response._response_type = None
    with pytest.raises(discord.HTTPException) as twice:
        await interaction.response.send_message("twice")
    assert (twice.value.status, twice.value.code) == (400, 40060)


async def test_three_seconds_for_the_first_answer(control, caught, sandbox):
    key, interaction = await ask(control, caught)
    sandbox.world.clock.advance(3.1)
    with pytest.raises(discord.NotFound) as late:
        await interaction.response.send_message("too late")
    assert late.value.code == 10062
    with pytest.raises(discord.NotFound) as no_hook:
        await interaction.followup.send("too late as well")
    assert no_hook.value.code == 10015
    assert (await control.get("interaction", id=key))["state"] == "failed"


async def test_a_person_sees_that_nobody_answers(control, caught):
    waiting = asyncio.create_task(control("run", member="ada", channel="general", command="ask"))
    await when(lambda: caught)
    assert (await waiting)["state"] == "failed"


async def test_deferring_gives_fifteen_minutes(control, caught, sandbox, server):
    key, interaction = await ask(control, caught)
    await interaction.response.defer(thinking=True)
    shown = await control.get("interaction", id=key)
    assert (shown["state"], shown["messages"][0]["flags"]) == ("thinking", 128)
    sandbox.world.clock.advance(14 * 60)
    edited = await interaction.edit_original_response(content="after a while")
    assert edited.content == "after a while"
    assert (await control.get("interaction", id=key))["state"] == "answered"
    more = await interaction.followup.send("and more", wait=True)
    assert more.id != edited.id
    await more.edit(content="and still more")
    await more.delete()
    sandbox.world.clock.advance(61)
    with pytest.raises(discord.HTTPException) as over:
        await interaction.edit_original_response(content="too late")
    assert (over.value.status, over.value.code) == (401, 50027)
    # The message itself is the bot's own: as an ordinary one it can be edited on.
    await server.channel().get_partial_message(edited.id).edit(content="by the other door")


async def test_the_first_follow_up_fills_what_was_deferred(control, caught):
    key, interaction = await ask(control, caught)
    await interaction.response.defer(thinking=True, ephemeral=True)
    sent = await interaction.followup.send("for you", wait=True)
    shown = await control.get("interaction", id=key)
    assert [one["content"] for one in shown["messages"]] == ["for you"]
    assert shown["messages"][0]["id"] == str(sent.id)
    # What was deferred as ephemeral stays so.
    assert shown["messages"][0]["ephemeral"]


async def test_ephemeral_answers_are_for_one_person(control, caught, server, client, rest):
    _, interaction = await ask(control, caught)
    await interaction.response.send_message("only you", ephemeral=True)
    message = await interaction.original_response()
    assert message.flags.ephemeral
    await control.say("bob", "general", f"<@{client.user.id}>")
    await when(lambda: client.heard)
    assert len(server.heard) == 1
    assert [one.author.name async for one in server.channel().history(limit=5)] == ["bob"]
    with pytest.raises(discord.NotFound):
        await server.channel().fetch_message(message.id)
    contents = {}
    for member in ("ada", "bob"):
        contents[member] = [one["content"] for one in (await control.get("view", member=member))["messages"]]
    assert "only you" in contents["ada"]
    assert "only you" not in contents["bob"]
    await interaction.edit_original_response(content="still only you")


async def test_suggestions(server, control):
    @server.tree.command(name="session", description="Go on")
    async def session(interaction: discord.Interaction, title: str, other: str = "") -> None:
        await interaction.response.send_message(title)

    @session.autocomplete("title")
    async def titles(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
        assert interaction.namespace.other == "x"
        return [app_commands.Choice(name=one, value=one) for one in ("alpha", "beta") if one.startswith(current)]

    await server.tree.sync()
    options = {"title": "al", "other": "x"}
    answer = await control(
        "complete", member="ada", channel="general", command="session", focused="title", options=options
    )
    assert answer["choices"] == [{"name": "alpha", "value": "alpha"}]


async def test_wrong_kinds_of_answers_are_refused(control, caught, rest):
    _, interaction = await ask(control, caught)
    path = f"/interactions/{interaction.id}/{interaction.token}/callback"
    assert (await rest("POST", path, json={"type": 7, "data": {"content": "x"}}))[1]["code"] == 50035
    assert (await rest("POST", path, json={"type": 4, "data": {}}))[1]["code"] == 50006
    assert (await rest("POST", path, json={"type": 4, "data": {"content": "x" * 2001}}))[1]["code"] == 50035
    wrong = f"/interactions/{interaction.id}/wrong/callback"
    assert (await rest("POST", wrong, json={"type": 5}))[1]["code"] == 10062
    assert (await rest("POST", path + "?with_response=true", json={"type": 4, "data": {"content": "x"}}))[0] == 200


class Buttons(discord.ui.View):
    def __init__(self):
        super().__init__(timeout=None)
        self.pressed = []

    @discord.ui.button(label="Stop", custom_id="stop")
    async def stop_it(self, interaction: discord.Interaction, button: discord.ui.Button) -> None:
        self.pressed.append(interaction.user.name)
        button.disabled = True
        await interaction.response.edit_message(content="stopped", view=self)

    @discord.ui.button(label="Retry", custom_id="retry")
    async def retry(self, interaction: discord.Interaction, _button: discord.ui.Button) -> None:
        await interaction.response.defer()
        await interaction.followup.send("again", ephemeral=True)


async def test_buttons(server, control):
    view = Buttons()
    message = await server.channel().send("running", view=view)
    answer = await control("press", member="ada", message=str(message.id), custom_id="retry")
    await when(lambda: answer["state"] == "answered")
    answer = await control("press", member="ada", message=str(message.id), custom_id="stop")
    assert (answer["state"], view.pressed) == ("answered", ["ada"])
    assert (await server.channel().fetch_message(message.id)).content == "stopped"
    with pytest.raises(Refused):
        await control("press", member="ada", message=str(message.id), custom_id="stop")
    with pytest.raises(Refused):
        await control("press", member="ada", message=str(message.id), custom_id="nothing")


async def test_buttons_of_ephemeral_answers(control, caught):
    view = Buttons()
    _, interaction = await ask(control, caught)
    await interaction.response.send_message("only you", view=view, ephemeral=True)
    message = await interaction.original_response()
    answer = await control("press", member="ada", message=str(message.id), custom_id="stop")
    assert answer["state"] == "answered"
    with pytest.raises(Refused):
        await control("press", member="bob", message=str(message.id), custom_id="stop")


async def test_files_with_answers(control, caught):
    _, interaction = await ask(control, caught)
    await interaction.response.defer()
    await interaction.followup.send("transcript", file=discord.File(__file__))
    original = await interaction.original_response()
    assert b"transcript" in await original.attachments[0].read()


async def test_in_a_direct_conversation(server, control, caught):
    channel = await control("dm", member="ada", bot="Server-Bot")
    await control("run", member="ada", channel=channel["id"], command="ask", wait=False)
    await when(lambda: caught)
    assert caught[0].guild is None
    assert caught[0].user.name == "ada"
    await caught[0].response.send_message("here")


async def test_a_command_may_open_a_thread(server, control, caught, sandbox):
    _, interaction = await ask(control, caught)
    await interaction.response.send_message("come along", ephemeral=True)
    thread = await interaction.channel.create_thread(name="ada's chat", type=discord.ChannelType.private_thread)
    await thread.add_user(interaction.user)
    await control.say("ada", thread.id, f"<@{server.user.id}> hi")
    await when(lambda: any("hi" in one for one in server.said))
    with pytest.raises(Refused):
        await control.say("bob", thread.id, "me too")
