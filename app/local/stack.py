"""Starting, watching and stopping one home's stack."""

import fcntl
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from app.local import (
    discord,
    engine,
    http_probe,
    leftovers,
    model,
    node,
    postgres,
    s3,
    sandbox,
    settings,
    stop_signals,
    valkey,
)
from app.local.discord import Met, Named
from app.local.errors import AlreadyStarting, LocalError, ServerDown, ServerFailed
from app.local.home import Home, explain, write_private
from app.local.logtail import last_line
from app.local.platform_process import Platform, PlatformProcess
from app.local.ports import Held
from app.local.program import OURS, Program, ours
from app.local.progress import Progress
from app.local.sandbox import Sandbox
from app.local.settings import ADMIN, Settings
from app.local.supervision import Supervisor
from app.wire import names

#: Seconds between two looks at what is starting. Each look costs the machine some milliseconds that a process
#: which is busy importing could use, so it is not looked more often than a person would notice.
LOOK_SECONDS = 0.1
#: Seconds for a server, for the page, and for a node with its model (a large one is read from a slow disk).
SERVER_SECONDS = 60
WEB_SECONDS = 180
NODE_SECONDS = 900
#: Seconds that the connection to Discord is waited for once all else is ready: the chat does without it.
DISCORD_SECONDS = 8
#: A process that ended so often while its start is waited for will not come up by itself.
START_TRIES = 2


@dataclass(frozen=True)
class Wanted:
    """What the command line asked for."""

    port: int | None = None
    nodes: int = 1
    lane: str = "auto"

    def keep(self, home: Home) -> None:
        """Writes it down for a later `up` beside the running stack."""
        write_private(_wanted(home), json.dumps({"nodes": self.nodes, "lane": self.lane}))


def kept(home: Home) -> dict[str, Any]:
    """With how many `nodes` and on which `lane` the running stack was started."""
    try:
        found: dict[str, Any] = json.loads(_wanted(home).read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        return {}


def _wanted(home: Home) -> Path:
    return home.run / "wanted.json"


def running(home: Home) -> Supervisor | None:
    """The supervisor of a stack that is up as a whole."""
    supervisor = Supervisor.connect(home)
    if supervisor is None:
        return None
    try:
        states = [process.state for name, process in supervisor.processes().items() if name != discord.NAME]
    except ServerDown:
        return None
    # One that is between two starts is still looked after; "stopped" means that the start never came to it.
    return supervisor if states and "stopped" not in states and "stopping" not in states else None


@contextmanager
def starting(home: Home) -> Iterator[None]:
    """Holds the home for one start at a time; the lock goes with the process that holds it."""
    with (home.run / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyStarting(home.path) from None
        yield


def start(home: Home, wanted: Wanted, attached: bool, progress: Progress, parts: "Parts") -> Supervisor:
    """Brings the whole stack up and returns when it answers; on failure all that was started is ended again."""
    leftovers.end(home)
    supervisor: Supervisor | None = None
    platform: Platform | None = None
    held = Held()
    try:
        with progress.step("Checking folder, ports and model"):
            stack_settings = settings.prepare(home, wanted.port, held)
            engine.check(home=home)
            found = _model(home, progress)
            node_names = node.names(wanted.nodes)
            for name in node_names:
                node.write(home, stack_settings, name, found, wanted.lane)
            there, own = parts.discord(home, node_names, held)
        instance = secrets.token_hex(8)
        environment = settings.environment(home) | {"MEATLIZARD_LANE": wanted.lane, "MEATLIZARD_INSTANCE": instance}
        platform = parts.platform(home, environment)
        with progress.step("Starting PostgreSQL, Valkey, the object store" + (" and the Discord sandbox" if own else "")):
            programs = [part.prepare(home, stack_settings) for part in (postgres, valkey, s3)]
            programs += [own[1]] if own else []
            programs += parts.programs(home, wanted)
            held.release(stack_settings.postgres_port, stack_settings.redis_port, stack_settings.s3_port)
            if own:
                held.release(own[0].port)
            supervisor = Supervisor.start(home, programs, environment, attached)
            _await(supervisor, postgres.NAME, lambda: postgres.set_up(home, stack_settings), SERVER_SECONDS)
            _await(supervisor, valkey.NAME, lambda: valkey.ping(stack_settings), SERVER_SECONDS)
            _await(supervisor, s3.NAME, lambda: s3.answers(stack_settings), SERVER_SECONDS)
            met = _meet(supervisor, there, own[0] if own else None, node_names, progress)
            guild = met.guild if met else there.guild if there else None
            discord.tell(home, there, guild)
            if wanted.lane == "discord" and guild is None:
                raise LocalError("there is no Discord for `--lane discord`: name one, or leave MEATLIZARD_SANDBOX on")
        with progress.step("Preparing the database, the first account and the node's keys"):
            request = _request(home, node_names, wanted, met)
            for name, keys in platform.ask(request)["node_keys"].items():
                node.give_keys(home, name, keys)
                node.give_discord(home, name, there if wanted.lane != "queue" else None, met)
        checks = parts.checks(stack_settings, wanted, instance)
        # Without a guild the Server-Bot would only end again and again.
        starting = [one.name for one in programs if one.group == OURS and (guild or one.name != discord.NAME)]
        with progress.step("Starting " + ", ".join(starting)):
            held.release()
            supervisor.start_ours(starting)
            for name, check in checks.items():
                _await(supervisor, name, check, WEB_SECONDS if name == "web" else NODE_SECONDS)
            for name in (*(one.name for one in programs if one.group != OURS), *starting):
                _await(supervisor, name, _runs(supervisor, name), WEB_SECONDS)
        if discord.NAME in starting:
            _look_for_bot(supervisor, stack_settings, progress)
        stop_signals.check()
        wanted.keep(home)
        return supervisor
    except BaseException as error:
        if supervisor is not None:
            supervisor.stop()
        leftovers.end(home)
        if isinstance(error, OSError):
            raise explain(error, home.path) from None
        raise
    finally:
        held.done()
        if platform is not None:
            platform.close()


def our_programs(home: Home, wanted: Wanted) -> list[Program]:
    """Our own processes, in the order in which they are shown."""
    programs = [ours(name, [name], home) for name in ("web", "worker", "beat", "flower")]
    if discord.named(home, []) or discord.wants_sandbox(home):
        programs.append(ours(discord.NAME, [discord.NAME], home))
    return programs + [node.program(home, name) for name in node.names(wanted.nodes)]


def our_discord(home: Home, node_names: list[str], held: Held) -> tuple[Named | None, tuple[Sandbox, Program] | None]:
    """The Discord to use, and the sandbox to start for it where none is named."""
    if there := discord.named(home, node_names):
        return there, None
    if not discord.wants_sandbox(home):
        return None, None
    own = sandbox.prepare(home, node_names, held)
    return discord.of_sandbox(own[0]), own


def our_checks(stack_settings: Settings, wanted: Wanted, instance: str) -> dict[str, Callable[[], None]]:
    """What must be true of which process before a person is told to go ahead."""

    def web() -> None:
        status, said = http_probe.answer("web", stack_settings.host, stack_settings.web_port, "/health")
        if status != HTTPStatus.OK:
            raise ServerDown("web", f"/health says {status}")
        if instance.encode() not in said:
            # Another program came between the look for a free port and our process.
            raise ServerDown("web", f"another program answers on port {stack_settings.web_port}; choose another with --port")

    def ready(name: str) -> None:
        beat = valkey.read_hash(stack_settings, names.node_key(name))
        if beat.get("state") == "failed":
            raise LocalError(f"the engine of node {name} cannot run: {beat.get('error') or 'see its log'}")
        if beat.get("state") != "ready":
            raise ServerDown(name, beat.get("error") or "not ready")

    checks: dict[str, Callable[[], None]] = {"web": web}
    for name in node.names(wanted.nodes):
        checks[node.process_name(name)] = lambda name=name: ready(name)  # type: ignore[misc]
    return checks


@dataclass(frozen=True)
class Parts:
    """What is ours in a stack, beside the servers; tests put stand-ins here."""

    programs: Callable[[Home, Wanted], list[Program]] = our_programs
    checks: Callable[[Settings, Wanted, str], dict[str, Callable[[], None]]] = our_checks
    discord: Callable[[Home, list[str], Held], tuple[Named | None, tuple[Sandbox, Program] | None]] = our_discord
    platform: Callable[[Home, dict[str, str]], Platform] = PlatformProcess


PARTS = Parts()


def stop(home: Home) -> list[str]:
    """Ends whatever of this home runs; the names of what did."""
    before = [record.name for record in leftovers.records(home) if record.process()]
    if supervisor := Supervisor.connect(home):
        supervisor.stop()
    leftovers.end(home)
    for left in (discord.file(home), _wanted(home)):
        left.unlink(missing_ok=True)
    return before


def _model(home: Home, progress: Progress) -> Any:
    if engine.served(home):
        return None
    found = model.find(home)
    if found is None:
        progress.say("  fetching the model SmolLM2-135M-Instruct, 94 MB, once")
        found = model.fetch(home)
    model.check(found)
    return found


def _request(home: Home, node_names: list[str], wanted: Wanted, met: Met | None) -> dict[str, Any]:
    lane = "queue" if wanted.lane == "auto" else wanted.lane
    bots = met.bots if met else {}
    return {
        "admin": {"name": ADMIN, "password": settings.admin_password(home)},
        "nodes": [
            {"name": name, "slots": node.slots(home, name), "lane": lane, "discord_id": bots.get(name)}
            for name in node_names
        ],
    }


def _meet(
    supervisor: Supervisor, there: Named | None, own: Sandbox | None, node_names: list[str], progress: Progress
) -> Met | None:
    """Who is who in Discord; None, and a line that says so, where it cannot be asked: the chat goes on without it."""
    if there is None:
        return None
    try:
        if own is not None:
            _await(supervisor, sandbox.NAME, lambda: sandbox.answers(own), SERVER_SECONDS)
        return discord.meet(there, node_names)
    except LocalError as error:
        progress.say(f"! Discord: {error}. All else goes on without it.")
        return None


def _look_for_bot(supervisor: Supervisor, stack_settings: Settings, progress: Progress) -> None:
    """Waits a little for the Server-Bot's word that it is connected; says so where there is none."""

    def connected() -> None:
        if not valkey.read_hash(stack_settings, names.SERVER_BOT):
            raise ServerDown("Discord", "not connected yet")

    try:
        _await(supervisor, discord.NAME, connected, DISCORD_SECONDS)
    except ServerFailed:
        log = supervisor.home.log(discord.NAME)
        progress.say(f"! The Server-Bot is not connected to Discord; it goes on trying. Why: `meatlizard doctor`, {log}")


def _await(supervisor: Supervisor, name: str, check: Callable[[], None], seconds: float) -> None:
    """Returns when the check passes; raises ServerFailed when its process keeps ending or takes too long."""
    tries: set[int] = set()

    def look() -> None:
        stop_signals.check()
        try:
            check()
        except ServerDown:
            _watch(supervisor, name, tries)
            raise

    patience = Retrying(
        stop=stop_after_delay(seconds), wait=wait_fixed(LOOK_SECONDS), retry=retry_if_exception_type(ServerDown)
    )
    try:
        patience(look)
    except RetryError as error:
        down = error.last_attempt.exception()
        said = (down.said if isinstance(down, ServerDown) else "") or last_line(supervisor.home, name) or f"no answer in {seconds:.0f} s"
        raise ServerFailed(name, said, supervisor.home.log(name)) from None


def _runs(supervisor: Supervisor, name: str) -> Callable[[], None]:
    """The check that a process has lived long enough to count."""

    def check() -> None:
        if supervisor.processes()[name].state != "running":
            raise ServerDown(name, "still starting")

    return check


def _watch(supervisor: Supervisor, name: str, tries: set[int]) -> None:
    if not supervisor.alive():
        said = last_line(supervisor.home, "supervisor.err") or "it was stopped while starting"
        raise ServerFailed("the supervisor", said, supervisor.home.log("supervisor"))
    with suppress(ServerDown):
        process = supervisor.processes()[name]
        tries.add(process.began)
        ended = len(tries) if process.state == "backoff" else len(tries) - 1
        if ended >= START_TRIES or process.state == "failed":
            raise ServerFailed(name, last_line(supervisor.home, name), supervisor.home.log(name))
