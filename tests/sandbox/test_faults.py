"""Misbehaviour on demand, as a bot meets it."""

import time

import aiohttp
import discord
import pytest

from tests.sandbox.people import when


def words(bot, first=0):
    return [one.content.split()[-1] for one in bot.heard[first:]]


async def say(control, bot, *texts):
    for text in texts:
        await control.say("ada", "general", f"<@{bot.user.id}> {text}")


async def test_events_are_lost_though_they_happened(client, control):
    await control("faults", kind="lose", count=2, event="MESSAGE_CREATE", bot="Client-Bot")
    await say(control, client, "a", "b", "c")
    await when(lambda: client.heard)
    assert words(client) == ["c"]
    assert len([one async for one in client.channel().history()]) == 3
    assert await control.get("faults") == []


async def test_events_come_twice_late_and_in_the_wrong_order(client, control):
    await control("faults", kind="duplicate", event="MESSAGE_CREATE")
    await say(control, client, "a")
    await when(lambda: words(client) == ["a", "a"])
    assert client.heard[0].id == client.heard[1].id
    await control("faults", kind="reorder", event="MESSAGE_CREATE")
    await say(control, client, "b", "c")
    await when(lambda: words(client, 2) == ["c", "b"])
    await control("faults", kind="delay", seconds=3.0, event="MESSAGE_CREATE")
    await say(control, client, "d", "e")
    await when(lambda: words(client, 4) == ["e", "d"])


async def test_a_failure_before_leaves_nothing(server, control):
    await control("faults", kind="fail_before", status=503, method="POST", channel="general")
    with pytest.raises(discord.DiscordServerError):
        await server.channel().send("x")
    assert [one async for one in server.channel().history()] == []
    # 500, 502 and 504 discord.py tries again by itself.
    await control("faults", kind="fail_before", status=502, method="POST", channel="general")
    await server.channel().send("x")


async def test_a_failure_after_left_the_message_and_the_nonce_finds_it(server, control):
    await control("faults", kind="fail_after", status=500, method="POST", channel="general")
    sent = await server.channel().send("once")
    assert [one.id async for one in server.channel().history()] == [sent.id]


async def test_a_connection_reset_after_the_commit(server, control):
    await control("faults", kind="reset_after", method="POST", channel="general")
    with pytest.raises((aiohttp.ClientError, OSError)):
        await server.channel().send("sent?", nonce="n-1")
    again = await server.channel().send("sent?", nonce="n-1")
    assert [one.id async for one in server.channel().history()] == [again.id]
    await control("faults", kind="reset_before", method="POST", channel="general")
    with pytest.raises((aiohttp.ClientError, OSError)):
        await server.channel().send("not sent")
    assert len([one async for one in server.channel().history()]) == 1


async def test_slow_answers_and_clearing(server, control):
    await control("faults", kind="slow", seconds=0.4, count=5, route="/channels/{channel}/messages")
    begun = time.monotonic()
    await server.channel().send("x")
    assert time.monotonic() - begun >= 0.4
    waiting = await control.get("faults")
    assert (waiting[0]["kind"], waiting[0]["left"], waiting[0]["hits"]) == ("slow", 4, 1)
    await control("faults/clear")
    assert await control.get("faults") == []


async def test_a_channel_is_deleted_by_hand(server, control):
    channel = await server.guild.create_text_channel("doomed")
    await control("channels/delete", channel=str(channel.id))
    await when(lambda: ("gone", "doomed") in server.events)
    with pytest.raises(discord.NotFound) as gone:
        await channel.send("x")
    assert gone.value.code == 10003


async def test_two_sessions_of_one_token_both_hear(invite, control):
    first, second = await invite("Client-Bot"), await invite("Client-Bot")
    await say(control, first, "both")
    await when(lambda: first.heard and second.heard)


async def test_the_store_is_searched_whole(server, control):
    message = await server.channel().send("needle-1", file=discord.File(__file__))
    await server.guild.create_text_channel("needle-2")
    hits = (await control.get("search", q="needle-1"))["hits"]
    # Also in the request that brought it and the event that told of it.
    assert {one["kind"] for one in hits} >= {"message", "attachment", "request"}
    assert str(message.id) in {one["id"] for one in hits}
    assert (await control.get("search", q="needle-2"))["hits"][0]["kind"] in ("channel", "message", "attachment")
    await message.edit(content="clean", attachments=[])
    assert {one["kind"] for one in (await control.get("search", q="needle-1"))["hits"]} >= {"request"}
    assert (await control.get("search", q="no such " + "words"))["hits"] == []
