"""Which Discord a start finds, and what each process is told of it."""

import json
import stat
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import discord as library
import pytest

from app.local import discord, envfile, node, sandbox, settings
from app.local.errors import LocalError, ServerDown
from app.local.home import Home
from app.local.ports import Held
from bots import permissions
from tests.local.harness import Cli


@pytest.fixture
def home(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Home:
    cli.home.make()
    settings.prepare(cli.home, None, Held())
    return cli.home


@pytest.mark.parametrize("asked", [permissions.SERVER_BOT, permissions.CLIENT_BOT])
def test_the_integer_is_that_of_discord_py(asked: dict[str, str]) -> None:
    assert permissions.integer(asked) == library.Permissions(**dict.fromkeys(asked, True)).value
    assert set(asked) <= set(library.Permissions.VALID_FLAGS)
    assert "administrator" not in asked


def test_nothing_is_named(home: Home) -> None:
    assert discord.named(home, ["home"]) is None
    assert discord.wants_sandbox(home)
    envfile.update(home.settings, {"SANDBOX": "off"}, "")
    assert not discord.wants_sandbox(home)


def test_one_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    envfile.update(home.settings, {"DISCORD_TOKEN": "abc", "DISCORD_GUILD": "12"}, "")
    monkeypatch.setenv("MEATLIZARD_DISCORD_NODE_TOKENS", "one, two")
    named = discord.named(home, ["home", "home-2", "home-3"])
    assert named is not None
    assert (named.api, named.guild) == ("https://discord.com/api/v10", 12)
    assert named.node_tokens == {"home": "one", "home-2": "two"}
    assert "abc" not in repr(named)
    assert "one" not in repr(named)


@pytest.mark.parametrize("half", [{"DISCORD_TOKEN": "abc"}, {"DISCORD_GUILD": "12"}, {"DISCORD_TOKEN": "a", "DISCORD_GUILD": "my server"}])
def test_half_of_one_is_refused(home: Home, half: dict[str, str]) -> None:
    envfile.update(home.settings, half, "")
    with pytest.raises(LocalError, match="belong together"):
        discord.named(home, ["home"])


def test_the_sandbox_is_remembered_and_private(home: Home) -> None:
    first, program = sandbox.prepare(home, ["home"], Held())
    assert stat.S_IMODE(sandbox.file(home).stat().st_mode) == 0o600
    assert not [word for word in program.command if first.server_token in word or first.control_token in word]
    second, _ = sandbox.prepare(home, ["home", "home-2"], Held())
    assert (second.server_token, second.control_token) == (first.server_token, first.control_token)
    assert second.tokens["home"] == first.tokens["home"]
    assert len({second.server_token, *second.tokens.values()}) == 3
    third, _ = sandbox.prepare(home, ["home"], Held())
    assert third.tokens == second.tokens


def test_a_broken_sandbox_file_says_what_to_do(home: Home) -> None:
    sandbox.file(home).write_text("{")
    with pytest.raises(LocalError, match="move it and"):
        sandbox.prepare(home, ["home"], Held())


def test_a_node_is_told_its_own_token_and_no_other(home: Home) -> None:
    named = discord.Named("http://127.0.0.1:1/api/v10", "server's", 12, {"home": "node's"})
    discord.tell(home, named, 12)
    node.give_discord(home, "home", named, discord.Met(12, 34, {"home": 56}))
    text = node.file(home, "home").read_text()
    assert "node's" in text
    assert "server's" not in text
    assert "server's" in discord.file(home).read_text()
    assert stat.S_IMODE(discord.file(home).stat().st_mode) == 0o600
    # Unasked because Discord was away: what stands there is still good, but not another bot's.
    node.give_discord(home, "home", named, None)
    assert "node's" in node.file(home, "home").read_text()
    other = discord.Named(named.api, "server's", 12, {"home": "another's"})
    node.give_discord(home, "home", other, None)
    assert "DISCORD" not in node.file(home, "home").read_text()


def test_a_node_on_the_queue_lane_is_told_of_no_discord(home: Home) -> None:
    named = discord.Named("http://127.0.0.1:1/api/v10", "server's", 12, {"home": "node's"})
    node.give_discord(home, "home", named, discord.Met(12, 34, {"home": 56}))
    node.give_discord(home, "home", None, None)
    assert "DISCORD" not in node.file(home, "home").read_text()


def test_the_processes_inherit_no_bots_token(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.setenv("MEATLIZARD_DISCORD_TOKEN", "the Server-Bot's")
    assert "the Server-Bot's" not in settings.environment(home).values()


def test_a_discord_that_is_away_or_refuses(home: Home) -> None:
    away = discord.Named("http://127.0.0.1:9/api/v10", "token", 12, {})
    with pytest.raises(ServerDown):
        discord.meet(away, [])
    with answering(401) as port, pytest.raises(LocalError, match="refuses the token of the Server-Bot"):
        discord.meet(discord.Named(f"http://127.0.0.1:{port}", "token", 12, {}), [])
    with answering(503) as port, pytest.raises(ServerDown, match="503"):
        discord.meet(discord.Named(f"http://127.0.0.1:{port}", "token", 12, {}), [])


class answering:  # noqa: N801 - read as a word
    """A Discord that answers everything with one status."""

    def __init__(self, status: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps({}).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> int:
        Thread(target=self.server.serve_forever, daemon=True).start()
        return int(self.server.server_address[1])

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
