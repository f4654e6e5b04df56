"""Messages: lengths, nonces, edits, history, files, mentions."""

import io

import discord
import pytest

from bots.sandbox.shapes import INTENT_FLAGS
from tests.sandbox.people import when

NONE = discord.AllowedMentions.none()


async def test_two_thousand_characters(server, rest):
    await server.channel().send("x" * 2000)
    with pytest.raises(discord.HTTPException) as long:
        await server.channel().send("x" * 2001)
    assert (long.value.status, long.value.code) == (400, 50035)
    status, body, _ = await rest("POST", f"/channels/{server.channel().id}/messages", json={"content": "x" * 2001})
    assert status == 400
    assert body["errors"]["content"]["_errors"][0]["code"] == "BASE_TYPE_MAX_LENGTH"
    status, body, _ = await rest("POST", f"/channels/{server.channel().id}/messages", json={"content": " "})
    assert (status, body["code"]) == (400, 50006)
    status, body, _ = await rest("POST", f"/channels/{server.channel().id}/messages", data="{broken")
    assert (status, body["code"]) == (400, 50109)
    for wrong in ({"content": "x", "attachments": 5}, {"content": "x", "message_reference": "y"}, {"embeds": ["x"]}):
        status, body, _ = await rest("POST", f"/channels/{server.channel().id}/messages", json=wrong)
        assert (status, body["code"]) == (400, 50035)


async def test_an_enforced_nonce_returns_the_message_it_made(server, client, sandbox, rest):
    first = await server.channel().send("once", nonce="abc")
    again = await server.channel().send("twice", nonce="abc")
    assert (again.id, again.content, again.nonce) == (first.id, "once", "abc")
    other = await client.channel().send("mine", nonce="abc")
    assert other.id != first.id
    path = f"/channels/{server.channel().id}/messages"
    _, body, _ = await rest("POST", path, json={"content": "not enforced", "nonce": "abc"})
    assert body["id"] != str(first.id)
    status, body, _ = await rest("POST", path, json={"content": "x", "nonce": "n" * 26})
    assert (status, list(body["errors"])) == (400, ["nonce"])
    await first.delete()
    with pytest.raises(discord.NotFound):
        await server.channel().send("gone", nonce="abc")
    sandbox.world.clock.advance(301)
    assert (await server.channel().send("later", nonce="abc")).content == "later"


async def test_edits_and_deletes_are_told(server, client, sandbox):
    message = await server.channel().send(f"<@{client.user.id}> one")
    await when(lambda: client.heard)
    await message.edit(content=f"<@{client.user.id}> two")
    await when(lambda: client.edits)
    assert client.edits[0].content.endswith("two")
    assert client.edits[0].edited_at is not None
    with pytest.raises(discord.Forbidden) as foreign:
        await client.channel().get_partial_message(message.id).edit(content="mine now")
    assert foreign.value.code == 50005
    with pytest.raises(discord.Forbidden) as foreign:
        await client.channel().get_partial_message(message.id).delete()
    assert foreign.value.code == 50013
    await message.delete()
    await when(lambda: ("delete", message.id) in client.events)
    with pytest.raises(discord.NotFound) as gone:
        await server.channel().fetch_message(message.id)
    assert gone.value.code == 10008
    many = [await server.channel().send(str(number)) for number in range(3)]
    await server.channel().delete_messages(many)
    await when(lambda: any(kind == "bulk" for kind, _ in client.events))
    old = await server.channel().send("old")
    new = await server.channel().send("older")
    sandbox.world.clock.advance(15 * 86400)
    with pytest.raises(discord.HTTPException) as late:
        await server.channel().delete_messages([old, new])
    assert late.value.code == 50034


async def test_history_is_paged_both_ways(server, rest):
    ids = [(await server.channel().send(str(number))).id for number in range(230)]
    channel = server.channel()
    assert [one.id async for one in channel.history(limit=None, oldest_first=True)] == ids
    assert [one.id async for one in channel.history(limit=None)] == ids[::-1]
    after = discord.Object(ids[99])
    assert [one.id async for one in channel.history(limit=None, after=after, oldest_first=True)] == ids[100:]
    before = discord.Object(ids[20])
    assert [one.id async for one in channel.history(limit=5, before=before)] == ids[15:20][::-1]
    around = [one.id async for one in channel.history(limit=5, around=discord.Object(ids[50]))]
    assert sorted(around) == ids[48:53]
    path = f"/channels/{channel.id}/messages"
    _, body, _ = await rest("GET", f"{path}?after={ids[0]}&limit=2")
    assert [int(one["id"]) for one in body] == [ids[2], ids[1]]
    for bad in ("limit=0", "limit=101", "limit=x", "before=x"):
        assert (await rest("GET", f"{path}?{bad}"))[1]["code"] == 50035


async def test_files_come_back_whole_by_links_that_end(server, client, sandbox, http):
    content = bytes(range(256)) * 200
    message = await server.channel().send(
        f"<@{client.user.id}>",
        files=[
            discord.File(io.BytesIO(content), "a b.bin", description="sealed"),
            discord.File(io.BytesIO(b"x"), "b.txt"),
        ],
    )
    await when(lambda: client.heard)
    there = client.heard[0].attachments
    assert [(one.filename, one.size, one.description) for one in there] == [
        ("a_b.bin", len(content), "sealed"),
        ("b.txt", 1, None),
    ]
    assert await there[0].read() == content
    assert there[0].url.startswith(sandbox.url + "/cdn/attachments/")
    async with http.get(there[0].url.replace("hm=", "hm=0")) as forged:
        assert forged.status == 404
    sandbox.world.clock.advance(25 * 3600)
    with pytest.raises(discord.NotFound):
        await there[0].read()
    fresh = await client.channel().fetch_message(message.id)
    assert await fresh.attachments[0].read() == content
    kept = await message.edit(attachments=[message.attachments[1]])
    assert [one.filename for one in kept.attachments] == ["b.txt"]


async def test_files_have_their_limits(server):
    with pytest.raises(discord.HTTPException) as large:
        await server.channel().send(file=discord.File(io.BytesIO(b"x" * (10 * 1024 * 1024 + 1)), "x"))
    assert (large.value.status, large.value.code) == (413, 40005)
    await server.channel().send(file=discord.File(io.BytesIO(b"x" * (10 * 1024 * 1024)), "x"))
    route = discord.http.Route("POST", "/channels/{channel_id}/messages", channel_id=server.channel().id)
    form = [{"name": f"files[{number}]", "value": b"x", "filename": "x"} for number in range(11)]
    with pytest.raises(discord.HTTPException) as too_many:
        await server.http.request(route, form=form)
    assert too_many.value.code == 30015


async def test_embeds_are_kept_and_counted(server):
    embed = discord.Embed(title="State", description="fine", colour=3).add_field(name="a", value="b")
    message = await server.channel().send(embed=embed)
    assert (await server.channel().fetch_message(message.id)).embeds[0].fields[0].value == "b"
    with pytest.raises(discord.HTTPException):
        await server.channel().send(embeds=[discord.Embed(description="x" * 4000)] * 2)


async def test_only_allowed_mentions_mention(server, client, control, rest, sandbox):
    ada = next(key for key, one in sandbox.world.store.users.items() if one.name == "ada")
    text = f"<@{client.user.id}> <@{ada}> @everyone"

    async def mentioned(**options):
        message = await server.channel().send(text, **options)
        return {one.id for one in message.mentions}, message.mention_everyone

    assert await mentioned() == ({client.user.id, ada}, True)
    assert await mentioned(allowed_mentions=NONE) == (set(), False)
    peer = discord.AllowedMentions(everyone=False, roles=False, users=[discord.Object(client.user.id)])
    assert await mentioned(allowed_mentions=peer) == ({client.user.id}, False)
    # The Client-Bot may not mention everyone, whatever it allows.
    assert not (await client.channel().send("@everyone")).mention_everyone
    body = {"content": "x", "allowed_mentions": {"parse": ["users"], "users": [str(ada)]}}
    assert (await rest("POST", f"/channels/{server.channel().id}/messages", json=body))[1]["code"] == 50035
    role = await server.guild.create_role(name="callable", mentionable=True)
    sent = await client.channel().send(f"<@&{role.id}>")
    assert [one.id for one in sent.role_mentions] == [role.id]


async def test_replies_know_what_they_answer(server, client, control):
    first = await control.say("ada", "general", "question")
    reference = discord.MessageReference(message_id=int(first["id"]), channel_id=client.channel().id)
    answer = await client.channel().send("answer", reference=reference, mention_author=True)
    assert answer.type is discord.MessageType.reply
    assert [one.name for one in answer.mentions] == ["ada"]
    wrong = discord.MessageReference(message_id=1, channel_id=client.channel().id)
    with pytest.raises(discord.HTTPException) as unknown:
        await client.channel().send("x", reference=wrong)
    assert unknown.value.code == 50035


async def test_typing_is_told(server, invite, control):
    watching = await invite("Client-Bot", discord.Intents(guilds=True, guild_typing=True))
    async with server.channel().typing():
        await when(lambda: ("typing", "Server-Bot") in watching.events)
    await control("typing", member="ada", channel="general")
    await when(lambda: ("typing", "ada") in watching.events)


async def test_tokens_are_needed_and_routes_are_known(http, sandbox, rest):
    async with http.get(sandbox.api + "/users/@me") as response:
        assert (response.status, await response.json()) == (401, {"message": "401: Unauthorized", "code": 0})
    assert (await rest("GET", "/nowhere"))[1] == {"message": "404: Not Found", "code": 0}


def test_privileged_intents_show_in_the_applications_flags():
    assert set(INTENT_FLAGS) == {1 << 1, 1 << 8, 1 << 15}
