"""Rate limits: headers that keep discord.py out of trouble, and what trouble looks like."""

import asyncio
import logging
import time

import discord
import pytest

from bots.sandbox.config import Config
from tests.sandbox.people import when


@pytest.fixture
def config():
    """Discord's limits, with shorter windows where a test waits for them."""
    return Config(limits="discord", buckets={"message create": (5, 0.5), "message edit": (5, 0.5)})


class TestSteadyState:
    async def test_discord_py_obeys_the_headers(self, server, caplog, sandbox, control):
        caplog.set_level(logging.WARNING, "discord.http")
        begun = time.monotonic()
        sent = await asyncio.gather(*(server.channel().send(str(number)) for number in range(23)))
        assert len({one.id for one in sent}) == 23
        assert time.monotonic() - begun > 1.9
        message = sent[0]
        for number in range(8):
            message = await message.edit(content=f"edit {number}")
        assert not [one for one in caplog.records if "rate limited" in one.message]
        assert sandbox.world.limits.invalid("127.0.0.1") == 0
        counts = await control.get("requests")
        assert {one["status"] for one in counts if one["bot"] == "Server-Bot"} <= {200, 204}
        sent = [one for one in counts if one["route"] == "/channels/{channel}/messages" and one["method"] == "POST"]
        assert [one["count"] for one in sent] == [23]

    async def test_follow_ups_have_one_bucket_an_interaction(self, server, control, caplog):
        caplog.set_level(logging.WARNING, "discord.webhook.async_")
        done = []

        @server.tree.command(name="ask", description="Ask")
        async def ask(interaction: discord.Interaction) -> None:
            await interaction.response.defer()
            for number in range(4):
                await interaction.edit_original_response(content=str(number))
            done.append(interaction)

        await server.tree.sync()
        for _ in range(3):
            await control("run", member="ada", channel="general", command="ask")
        await when(lambda: len(done) == 3)
        assert not [one for one in caplog.records if "rate limited" in one.message]

    async def test_channels_have_buckets_of_their_own(self, server, sandbox, rest):
        other = await server.guild.create_text_channel("other")
        sandbox.world.clock.stop()
        for place in (server.channel().id, other.id):
            seen = [await rest("POST", f"/channels/{place}/messages", json={"content": "x"}) for _ in range(6)]
            assert [one[0] for one in seen] == [200] * 5 + [429]


async def test_the_headers_of_a_bucket(sandbox, rest):
    sandbox.world.clock.stop()
    channel = next(one.id for one in sandbox.world.store.channels.values() if one.name == "general")
    path = f"/channels/{channel}/messages"
    sandbox.world.limits.on = True
    seen = [await rest("POST", path, json={"content": "x"}) for _ in range(6)]
    assert [one[0] for one in seen] == [200] * 5 + [429]
    assert [one[2]["X-RateLimit-Remaining"] for one in seen] == ["4", "3", "2", "1", "0", "0"]
    assert len({one[2]["X-RateLimit-Bucket"] for one in seen}) == 1
    assert seen[0][2]["X-RateLimit-Limit"] == "5"
    assert 0 < float(seen[0][2]["X-RateLimit-Reset-After"]) <= 0.5
    _, body, headers = seen[5]
    assert body["message"] == "You are being rate limited."
    assert body["global"] is False
    assert 0 < body["retry_after"] <= 0.5
    assert (headers["X-RateLimit-Scope"], headers["Retry-After"]) == ("user", "1")
    assert headers["Via"]
    # Another bot has a bucket of its own.
    assert (await rest("POST", path, "Client-Bot", json={"content": "x"}))[0] == 200
    sandbox.world.clock.advance(0.5)
    assert (await rest("POST", path, json={"content": "x"}))[0] == 200


async def test_fifty_a_second_over_all_routes(rest, http, sandbox):
    sandbox.world.clock.stop()
    answers = [await rest("GET", "/users/@me" if number % 2 else "/gateway/bot") for number in range(51)]
    assert [one[0] for one in answers] == [200] * 50 + [429]
    _, body, headers = answers[50]
    assert body["global"] is True
    assert (headers["X-RateLimit-Scope"], headers["X-RateLimit-Global"]) == ("global", "true")
    # Interactions stand outside of it.
    assert (await rest("POST", "/interactions/1/x/callback", json={"type": 5}))[0] == 404


async def test_ten_thousand_invalid_requests_shut_the_address_out(rest, control, sandbox, invite):
    await control("limits", invalid=9_998)
    assert (await rest("GET", "/channels/1", headers={"Authorization": "Bot wrong"}))[0] == 401
    assert (await rest("GET", "/users/@me"))[0] == 200
    assert (await rest("GET", "/channels/1", headers={"Authorization": "Bot wrong"}))[0] == 401
    status, body, headers = await rest("GET", "/users/@me")
    assert (status, body) == (429, "error code: 1015")
    assert "Via" not in headers
    # discord.py takes it for what it is, and does not go on knocking.
    with pytest.raises(discord.HTTPException) as banned:
        await invite("Server-Bot")
    assert banned.value.status == 429
    sandbox.world.clock.advance(601)
    assert (await rest("GET", "/users/@me"))[0] == 200


async def test_a_storm_delays_one_channel_only(server, control):
    other = await server.guild.create_text_channel("other")
    await server.channel().send("warm")
    await control("faults", kind="storm", during=2, channel="general", method="POST")
    late = asyncio.create_task(server.channel().send("late"))
    await other.send("at once")
    assert not late.done()
    await late


async def test_a_global_storm_stops_everything(server, control):
    other = await server.guild.create_text_channel("other")
    begun = time.monotonic()
    await control("faults", kind="storm", during=1.0, scope="global", bot="Server-Bot")
    await asyncio.gather(server.channel().send("x"), other.send("y"))
    assert time.monotonic() - begun >= 0.8


async def test_shared_limits_are_not_held_against_anyone(rest, control, sandbox):
    await control("faults", kind="storm", count=1, scope="shared")
    status, body, headers = await rest("GET", "/users/@me")
    assert (status, headers["X-RateLimit-Scope"]) == (429, "shared")
    assert body["message"] == "The resource is being rate limited."
    assert sandbox.world.limits.invalid("127.0.0.1") == 0


async def test_renaming_and_late_edits_have_limits_of_their_own(rest, sandbox):
    channel = next(one.id for one in sandbox.world.store.channels.values() if one.name == "general")
    renames = [await rest("PATCH", f"/channels/{channel}", json={"topic": str(number)}) for number in range(3)]
    assert [one[0] for one in renames] == [200, 200, 429]
    assert renames[2][1]["retry_after"] > 500
    _, message, _ = await rest("POST", f"/channels/{channel}/messages", json={"content": "x"})
    sandbox.world.clock.advance(3700)
    path = f"/channels/{channel}/messages/{message['id']}"
    codes = []
    for number in range(31):
        sandbox.world.clock.advance(0.2)
        codes.append((await rest("PATCH", path, json={"content": str(number)}))[1].get("code"))
    assert codes[-1] == 30046
    assert set(codes[:-1]) == {None}


async def test_limits_can_be_switched_off(rest, control, sandbox):
    await control("limits", on=False)
    channel = next(one.id for one in sandbox.world.store.channels.values() if one.name == "general")
    answers = [await rest("POST", f"/channels/{channel}/messages", json={"content": "x"}) for _ in range(20)]
    assert {one[0] for one in answers} == {200}
    await when(lambda: True)
