"""The gateway: coming in, staying, being told the right things, losing the line and coming back."""

import asyncio
import json

import discord
import pytest

from bots.sandbox.config import Config
from bots.sandbox.connection import ACK_SECONDS
from tests.sandbox.people import INTENTS, SEEING, Socket, when


async def test_both_bots_log_in_and_see_the_guild(server, client):
    assert server.guild.name == client.guild.name == "MeatLizard"
    assert [one.name for one in client.guild.text_channels] == ["general"]
    assert server.guild.me.guild_permissions.manage_channels
    assert not client.guild.me.guild_permissions.manage_channels
    assert client.guild.me.guild_permissions.send_messages
    assert server.application.name == "Server-Bot"


async def test_members_come_with_the_intent_only(invite, sandbox, rest):
    seeing = await invite("Server-Bot", SEEING)
    blind = await invite("Client-Bot")
    assert {one.name for one in seeing.guild.members} >= {"owner", "ada", "bob", "cy", "Server-Bot", "Client-Bot"}
    assert [one.name for one in blind.guild.members] == ["Client-Bot"]
    assert blind.guild.member_count == 6
    chunk = await seeing.guild.query_members("ad")
    assert [one.name for one in chunk] == ["ada"]
    assert "owner" in [one.name async for one in seeing.guild.fetch_members()]
    assert (await rest("GET", f"/guilds/{sandbox.guild}/members", "Client-Bot"))[0] == 403


async def test_a_wrong_token_is_refused(sandbox, dial, invite):
    socket = await dial()
    await socket.send(2, {"token": "wrong", "intents": 1})
    assert await socket.closed() == 4004
    sandbox.world.store.applications[next(iter(sandbox.world.store.applications))].name = "Other"
    bad = discord.Client(intents=INTENTS)
    with pytest.raises(discord.LoginFailure):
        await bad.login("wrong")
    await bad.close()


async def test_a_privileged_intent_must_be_switched_on(invite):
    with pytest.raises(discord.PrivilegedIntentsRequired):
        await invite("Client-Bot", SEEING)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ("not json", 4002),
        ('{"no": "op"}', 4002),
        ("x" * 5000, 4002),
        ('{"op": 99, "d": null}', 4001),
        ('{"op": 8, "d": {}}', 4003),
        ('{"op": 6, "d": {"token": "wrong", "session_id": "x", "seq": 1}}', 4004),
    ],
)
async def test_closing_codes(dial, payload, code):
    socket = await dial()
    await socket.text(payload)
    assert await socket.closed() == code


async def test_more_closing_codes(dial, sandbox):
    token = sandbox.token("Client-Bot")
    socket = await dial()
    await socket.send(2, {"token": token, "intents": 1 << 40})
    assert await socket.closed() == 4013
    socket = await dial()
    await socket.send(2, {"token": token, "intents": 1 << 15})
    assert await socket.closed() == 4014
    socket = await dial()
    await socket.send(2, {"token": token, "intents": 1, "shard": [2, 2]})
    assert await socket.closed() == 4010
    socket = await dial()
    ready = await socket.identify(token)
    await socket.send(2, {"token": token, "intents": 1})
    assert await socket.closed() == 4005
    socket = await dial()
    await socket.send(6, {"token": token, "session_id": ready["d"]["session_id"], "seq": 1000})
    assert await socket.closed() == 4007


async def test_an_old_version_is_refused(http, sandbox):
    async with http.ws_connect(sandbox.world.gateway_url, params={"v": "6"}) as websocket:
        assert await Socket(websocket).closed() == 4012


async def test_zlib_stream_is_one_stream_flushed_after_each_message(dial, sandbox, control):
    socket = await dial(compress="zlib-stream")
    await socket.identify(sandbox.token("Client-Bot"))
    for number in range(3):
        await control.say("ada", "general", f"word {number}")
        assert (await socket.until("MESSAGE_CREATE"))["d"]["channel_id"]
    assert socket.binary >= 6
    assert socket.last_bytes.endswith(b"\x00\x00\xff\xff")


async def test_without_transport_compression_large_payloads_may_be_packed_one_by_one(dial, sandbox, control):
    for number in range(20):
        await control("channels", name=f"room-{number}")
    socket = await dial()
    await socket.send(2, {"token": sandbox.token("Client-Bot"), "intents": 1, "compress": True})
    await socket.until("READY")
    await socket.until("GUILD_CREATE")
    assert socket.binary == 1


async def test_zstd_stream(http, sandbox):
    zstandard = pytest.importorskip("zstandard")
    async with http.ws_connect(sandbox.world.gateway_url, params={"v": "10", "compress": "zstd-stream"}) as websocket:
        unpack = zstandard.ZstdDecompressor().decompressobj()
        assert json.loads(unpack.decompress(await websocket.receive_bytes()))["op"] == 10
        await websocket.send_json({"op": 2, "d": {"token": sandbox.token("Client-Bot"), "intents": 1}})
        assert json.loads(unpack.decompress(await websocket.receive_bytes()))["t"] == "READY"


async def test_content_is_for_those_who_may_have_it(invite, control, sandbox):
    seeing = await invite("Server-Bot", SEEING)
    blind = await invite("Client-Bot")
    await control.say("ada", "general", "for the seeing")
    await control.say("ada", "general", f"hear, <@{blind.user.id}>", files={"a.txt": "abc"})
    await when(lambda: len(seeing.heard) == len(blind.heard) == 2)
    assert seeing.said == ["for the seeing", f"hear, <@{blind.user.id}>"]
    assert blind.said == ["", f"hear, <@{blind.user.id}>"]
    assert blind.heard[0].author.name == "ada"
    assert [one.filename for one in blind.heard[1].attachments] == ["a.txt"]
    # Over REST the portal's switch decides the same.
    history = [one.content async for one in blind.channel().history(oldest_first=True)]
    assert history == ["", f"hear, <@{blind.user.id}>"]
    own = await blind.channel().send("my own words")
    await when(lambda: len(blind.heard) == 3)
    assert blind.heard[2].content == own.content == "my own words"


async def test_direct_conversations_are_read_without_the_intent(client, control):
    channel = await control("dm", member="ada", bot="Client-Bot")
    await control.say("ada", channel["id"], "between us")
    await when(lambda: client.said == ["between us"])
    answer = await client.heard[0].reply("yes")
    assert answer.reference.message_id == client.heard[0].id


async def test_events_come_with_their_intents_only(invite, control):
    deaf = await invite("Client-Bot", discord.Intents(guilds=True))
    hearing = await invite("Server-Bot")
    await control.say("ada", "general", "hello")
    await control("channels", name="new")
    await when(lambda: ("create", "new") in deaf.events and hearing.heard)
    assert deaf.heard == []


async def test_a_resume_brings_every_event_once_and_in_order(client, control):
    await control.say("ada", "general", f"<@{client.user.id}> 0")
    await when(lambda: len(client.heard) == 1)
    await control("faults", kind="refuse_connect", during=1.0)
    await control("gateway", action="drop", abrupt=True)
    for number in range(1, 30):
        await control.say("ada", "general", f"<@{client.user.id}> {number}")
    await when(lambda: client.resumes == 1 and len(client.heard) >= 30)
    assert [one.content.split()[1] for one in client.heard] == [str(number) for number in range(30)]
    assert client.readies == 1


@pytest.mark.parametrize(
    "action",
    [
        {"action": "reconnect"},
        {"action": "drop", "code": 4000},
        {"action": "drop", "code": 1000},
        {"action": "invalidate", "resumable": True},
    ],
)
async def test_whatever_can_be_resumed_is(client, control, action):
    await control("gateway", **action)
    await when(lambda: client.resumes == 1)
    await control.say("ada", "general", f"<@{client.user.id}> still here")
    await when(lambda: len(client.heard) == 1)
    assert client.readies == 1


async def test_a_refused_resume_is_a_new_session_and_nothing_is_replayed(client, control):
    await control("faults", kind="refuse_resume")
    await control("faults", kind="refuse_connect", during=3.0)
    await control("gateway", action="drop")
    await control.say("ada", "general", f"<@{client.user.id}> missed")
    await when(lambda: client.readies == 2)
    await control.say("ada", "general", f"<@{client.user.id}> heard")
    await when(lambda: client.heard)
    assert [one.content.split()[1] for one in client.heard] == ["heard"]
    history = [one async for one in client.channel().history(oldest_first=True)]
    assert len(history) == 2


async def test_a_session_is_forgotten_after_its_time_and_after_a_goodbye(dial, sandbox):
    token = sandbox.token("Client-Bot")
    for goodbye in (False, True):
        socket = await dial()
        ready = await socket.identify(token)
        await socket.close(1000 if goodbye else 4000)
        await when(lambda: all(one.link is None for one in sandbox.world.gateway.sessions.values()))
        if not goodbye:
            sandbox.world.clock.advance(61)
        socket = await dial()
        await socket.send(6, {"token": token, "session_id": ready["d"]["session_id"], "seq": ready["s"]})
        assert (await socket.op(9))["d"] is False


async def test_a_half_open_connection_gives_way_to_the_resume(dial, sandbox):
    token = sandbox.token("Client-Bot")
    first = await dial()
    ready = await first.identify(token)
    second = await dial()
    await second.send(6, {"token": token, "session_id": ready["d"]["session_id"], "seq": ready["s"]})
    await second.until("RESUMED")
    assert await first.closed() == 4000


class TestHeartbeats:
    @pytest.fixture
    def config(self):
        return Config(limits="off", heartbeat_seconds=1.0)

    async def test_they_are_acknowledged_and_missed(self, dial):
        socket = await dial()
        await socket.send(1, None)
        await socket.op(11)
        assert await socket.closed() == 4009

    async def test_no_answer_comes_before_its_heartbeat_was_noted_as_sent(self, dial):
        """discord.py notes that only after sending; what came sooner, it would hold to be a whole interval late."""
        socket, loop = await dial(), asyncio.get_running_loop()
        sent = loop.time()
        await socket.send(1, None)
        await socket.op(11)
        assert loop.time() - sent >= ACK_SECONDS

    async def test_a_zombie_is_noticed_and_resumed_from(self, invite, control):
        bot = await invite("Client-Bot", heartbeat_timeout=3.0)
        await control("gateway", action="zombie", seconds=60)
        await control.say("ada", "general", f"<@{bot.user.id}> into the void")
        await when(lambda: bot.resumes and bot.heard)
        assert len(bot.heard) == 1


class TestIdentifyLimits:
    @pytest.fixture
    def config(self):
        return Config(limits="discord", identify_limit=3)

    async def test_one_in_five_seconds_and_so_many_a_day(self, dial, sandbox, rest):
        token, clock = sandbox.token("Client-Bot"), sandbox.world.clock
        await (await dial()).identify(token)
        early = await dial()
        await early.send(2, {"token": token, "intents": 1})
        assert (await early.op(9))["d"] is False
        for _ in range(2):
            clock.advance(5.1)
            await (await dial()).identify(token)
        _, body, _ = await rest("GET", "/gateway/bot", "Client-Bot")
        assert body["session_start_limit"]["remaining"] == 0
        assert body["session_start_limit"]["max_concurrency"] == 1
        clock.advance(5.1)
        late = await dial()
        await late.send(2, {"token": token, "intents": 1})
        assert await late.closed() == 4004
        assert sandbox.token("Client-Bot") != token

    async def test_a_flood_of_payloads_is_cut_off(self, dial):
        socket = await dial()
        for _ in range(121):
            await socket.send(1, None)
        assert await socket.closed() == 4008


async def test_the_address_is_told_over_rest(rest, sandbox, http):
    status, body, _ = await rest("GET", "/gateway")
    assert (status, body["url"]) == (200, sandbox.url.replace("http", "ws") + "/gateway/")
