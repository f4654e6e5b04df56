"""The smaller parts by themselves: ids, the state file, addresses."""

import discord.http
import pytest
from discord.asset import Asset
from discord.gateway import DiscordWebSocket

from app.wire.errors import BadInput
from bots.api import DISCORD, use_api
from bots.sandbox.clock import Clock
from bots.sandbox.config import Bot, Config
from bots.sandbox.records import Channel, Message, Overwrite, Thread
from bots.sandbox.seed import begin
from bots.sandbox.snowflake import Snowflakes, at, seconds_of
from bots.sandbox.store import Store
from bots.sandbox.world import World


def test_ids_grow_and_tell_their_time():
    clock = Clock()
    ids = Snowflakes(clock)
    made = [ids.new() for _ in range(1000)]
    assert made == sorted(set(made))
    assert abs(seconds_of(made[0]) - clock.time()) < 5
    # Turned back, the clock makes no id twice.
    clock.advance(-600)
    assert ids.new() > made[-1]
    # The example of Discord's documentation (reference, Snowflakes).
    assert seconds_of(175928847299117063) == 1462015105.796
    assert at(1462015105.796) == 175928847299117063 >> 22 << 22


def test_the_state_comes_back_as_it_was(tmp_path):
    store = Store(tmp_path / "new folder" / "state.json")
    store.channels[1] = Channel(1, 12, 5, "t", 2, overwrites=[Overwrite(3, 1, 4, 5)], thread=Thread(7, {7: 1.5}))
    for key, nonce in ((10, "n"), (11, 12)):
        store.add_message(Message(key, 1, 7, "text", nonce=nonce, enforced=True))
    store.add_message(Message(12, 1, 7, "for one", only_for=7))
    store.save()
    again = Store(store.path)
    assert again.state == store.state
    assert [one.id for one in again.page(1, 50, None, None, None)] == [11, 10]
    assert (again.by_nonce(7, "n"), again.by_nonce(7, "12")) == (10, 11)
    assert [one.id for one in again.hidden(1, 7)] == [12]


def test_a_broken_state_file_is_named(tmp_path):
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(BadInput, match=r"state\.json"):
        Store(tmp_path / "state.json")


def test_tokens_come_from_file_and_environment(monkeypatch):
    monkeypatch.setenv("MEATLIZARD_SANDBOX_CLIENT_BOT_TOKEN", "from-env")
    world = World(Config(bots=[Bot(name="One", token="from-file"), Bot(name="Two")]))
    begin(world)
    assert {one.name: one.token for one in world.store.applications.values()} == {"One": "from-file", "Two": "from-env"}
    assert world.by_token("from-file").name == "One"
    assert world.by_token("") is None


def test_the_api_is_a_matter_of_addresses():
    use_api("http://127.0.0.1:8970/api/v10/")
    assert discord.http.Route("GET", "/users/@me").url == "http://127.0.0.1:8970/api/v10/users/@me"
    assert str(DiscordWebSocket.DEFAULT_GATEWAY) == "ws://127.0.0.1:8970/gateway/"
    assert Asset.BASE == "http://127.0.0.1:8970/cdn"
    use_api()
    assert discord.http.Route.BASE == DISCORD
    assert str(DiscordWebSocket.DEFAULT_GATEWAY) == "wss://gateway.discord.gg/"
