"""`meatlizard server-bot` as a process: a real Celery worker, killed and stopped while it works."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.core import keys, redis
from app.core.broker import enqueue
from app.services import estimate, sessions, turns
from app.wire import names
from app.wire.frames import FrameKind
from app.wire.jobs import Job
from app.wire.states import TurnState
from bots.sandbox.faults import Kind
from bots.server.outbox import nonce
from tests.server_bot.stage import Stage
from tests.support.people import Member
from tests.support.waiting import PATIENCE, until_async


@contextmanager
def process(folder: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command with the settings of the test; what it says lies in the folder."""
    environment = os.environ | {f"MEATLIZARD_{name.upper()}": value for name, value in settings.items()}
    with (folder / "server-bot.log").open("ab") as log:
        running = subprocess.Popen([sys.executable, "-m", "app.cli", "server-bot"], env=environment, stdout=log, stderr=log)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        running.wait()


async def node_ready(stage: Stage) -> None:
    await until_async(lambda: asyncio.to_thread(stage.node.control), PATIENCE)
    stage.node.server = next(
        one.id for one in stage.sandbox.world.store.applications.values() if one.name == "Server-Bot"
    )
    await stage.node.hello()
    await until_async(lambda: asyncio.to_thread(lambda: bool(estimate.slots())))


async def test_killed_in_the_middle_it_carries_on(ada: Member, lonely: Stage, tmp_path: Path) -> None:
    with process(tmp_path) as first:
        await node_ready(lonely)
        turn = (await asyncio.to_thread(ada.ask, ada.session())).turn
        reply = await lonely.node.prompt()
        # Between the post and its acknowledgement, or just after: the broker may bring the task once more.
        first.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.wait)
    await reply.started()
    await reply.say("a", "b")
    with process(tmp_path):
        await until_async(lambda: asyncio.to_thread(redis.client().hget, names.turn_meta(turn), "relayed"), PATIENCE)
        envelope = Job(turn, 1, reply.job.session, reply.job.messages).seal(keys.node("home"))
        redis.client().hdel(names.turn_meta(turn), "posted")
        await asyncio.to_thread(enqueue, names.POST_PROMPT, turn, 1, "home", reply.job.session, envelope)
        await reply.say("c")
        await until_async(lambda: asyncio.to_thread(lambda: redis.client().hexists(names.turn_meta(turn), "posted")), PATIENCE)
        await reply.end()
        await lonely.turn(turn, lambda row: row.state == TurnState.DONE)
        await lonely.node.hear(FrameKind.CLOSED)
    assert await asyncio.to_thread(turns.reply, turn) == "abc"
    mark = nonce("prompt", turn, 1, reply.channel)
    assert len([one for one in lonely.messages(reply.channel) if one.nonce == mark]) == 1


async def test_sigterm_lets_posts_in_flight_be_confirmed(
    ada: Member, lonely: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The channel that is asked for ahead goes back to the queue with SIGTERM: here nothing but the prompt is under way.
    monkeypatch.setattr(sessions, "ask_relay", lambda *_, **__: None)
    with process(tmp_path) as running:
        await node_ready(lonely)
        lonely.fault(Kind.SLOW, method="POST", route="/messages", seconds=2.0)
        turn = (await asyncio.to_thread(ada.ask, ada.session())).turn
        await until_async(lambda: asyncio.sleep(0, not lonely.sandbox.world.faults.waiting()), PATIENCE)
        running.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.wait, PATIENCE) == 0
    reply = await lonely.node.prompt()
    assert reply.turn == turn
    assert redis.client().hget(names.turn_meta(turn), "posted") == b"1"
    assert redis.client().llen(names.RELAY) == 0
    left: Any = redis.client().hlen("unacked")
    assert left == 0


async def test_tasks_wait_while_discord_is_away(ada: Member, lonely: Stage, tmp_path: Path) -> None:
    lonely.fault(Kind.FAIL_BEFORE, method="GET", route="/users/@me", count=6)
    with process(tmp_path):
        session = ada.session()
        await until_async(
            lambda: asyncio.sleep(0, any(one.topic and session in one.topic for one in lonely.sandbox.world.store.channels.values())),
            90,
        )
    assert "discord.away" in (tmp_path / "server-bot.log").read_text() or not lonely.sandbox.world.faults.waiting()


@pytest.mark.usefixtures("lonely")
async def test_without_a_token_it_says_what_to_do(tmp_path: Path) -> None:
    with process(tmp_path, discord_token="") as running:
        assert await asyncio.to_thread(running.wait, PATIENCE) == 1
    said = (tmp_path / "server-bot.log").read_text()
    assert "MEATLIZARD_DISCORD_TOKEN" in said
    assert "Traceback" not in said


async def test_a_wrong_token_is_said_plainly(lonely: Stage, tmp_path: Path) -> None:
    with process(tmp_path, discord_token="not-one"):
        log = tmp_path / "server-bot.log"
        await until_async(lambda: asyncio.to_thread(lambda: "Discord refuses the token" in log.read_text()), PATIENCE)
        assert "not-one" not in log.read_text()
