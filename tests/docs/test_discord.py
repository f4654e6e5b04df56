"""The guide to one's own Discord server says what the code needs."""

import re

import discord

from bots import permissions
from bots.client.config import ClientSettings
from bots.server.layout import BOT_MAY
from tests.docs import markdown

GUIDE = markdown.text("docs/discord.md")


def test_the_links_ask_for_what_the_bots_use() -> None:
    links = re.findall(r"scope=(\S+)&permissions=(\d+)", GUIDE)
    assert links == [
        ("bot+applications.commands", str(permissions.integer(permissions.SERVER_BOT))),
        ("bot", str(permissions.integer(permissions.CLIENT_BOT))),
    ]
    for number in re.findall(r"\b\d{6,}\b", GUIDE):
        assert int(number) in (permissions.integer(permissions.SERVER_BOT), permissions.integer(permissions.CLIENT_BOT))


def test_the_table_names_each_permission_and_what_for() -> None:
    rows = dict(re.findall(r"^\| ([A-Z][\w ]+) \| (.+) \|$", GUIDE, re.MULTILINE))
    told = {name.replace("Channels", "Channel" if name.startswith("View") else "Channels") for name in rows}
    assert {name.lower().replace(" ", "_") for name in told} == set(permissions.SERVER_BOT)
    for what in permissions.SERVER_BOT.values():
        assert what.replace("/chat", "`/chat`") in GUIDE


def test_a_bot_may_what_its_channels_let_it() -> None:
    # Who gives a permission in a channel must have it: Discord refuses the rest.
    given = {name for name, value in BOT_MAY if value}
    names = {"read_messages": "view_channel"}
    given = {names.get(name, name) for name in given}
    assert given == set(permissions.CLIENT_BOT)
    assert given < set(permissions.SERVER_BOT)
    assert not discord.Permissions(permissions.integer(permissions.SERVER_BOT)).administrator


def test_the_settings_it_names_are_those_of_the_code() -> None:
    assert {"discord_token", "discord_guild", "discord_server_bot"} <= set(ClientSettings.model_fields)
    for name in ("MEATLIZARD_DISCORD_TOKEN", "MEATLIZARD_DISCORD_GUILD", "MEATLIZARD_DISCORD_NODE_TOKENS"):
        assert f"{name}=" in GUIDE
