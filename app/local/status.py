"""What runs in a home right now, as the fixed object that `meatlizard status --json` prints."""

import json
import sys
from typing import Any

from app import printed
from app.local import discord, keeping, leftovers, node, settings, valkey
from app.local.errors import NotRunning, ServerDown
from app.local.home import Home
from app.local.settings import Settings
from app.local.supervision import Supervisor
from app.services import condition
from app.wire.figures import figure

#: What is said when nothing runs: the same keys, nothing in them.
NOTHING: dict[str, Any] = {"url": None, "processes": {}, "services": None, "nodes": [], "waiting": None, "keeping": None}


def status(home: Home) -> dict[str, Any] | None:
    """The state of the stack, or None when none runs; secrets in it are the owner's, who may read them anyway."""
    supervisor = Supervisor.connect(home)
    if supervisor is None or not home.exists():
        return None
    try:
        processes = supervisor.processes()
    except ServerDown:
        return None
    known = settings.load(home)
    return {
        "url": known.url,
        "home": str(home.path),
        "supervisor": {"pid": supervisor.record.pid},
        "processes": {name: {"pid": process.pid or None, "state": process.state} for name, process in processes.items()}
        | _engines(home),
        "services": services(home, known),
        "nodes": _nodes(known),
        "waiting": _waiting(known),
        "keeping": keeping.told(known),
    }


def services(home: Home, known: Settings) -> dict[str, Any]:
    """Where the servers are and how to log in."""
    values = known.values
    return {
        "postgres": known.dsn,
        "redis": known.redis_url,
        "s3": {
            "endpoint": values["S3_ENDPOINT"],
            "access_key": values["S3_ACCESS_KEY"],
            "secret_key": values["S3_SECRET_KEY"],
            "bucket": values["S3_BUCKET"],
        },
        "discord": discord.told(home),
    }


def _engines(home: Home) -> dict[str, dict[str, Any]]:
    """The llama.cpp below each node, as the node recorded it."""
    found: dict[str, dict[str, Any]] = {}
    for record in leftovers.records(home):
        if record.path.name.endswith(".engine.json"):
            alive = record.process() is not None
            found[node.engine_name(record.name)] = {
                "pid": record.pid if alive else None,
                "state": "running" if alive else "exited",
            }
    return found


def _nodes(known: Settings) -> list[dict[str, Any]]:
    """The nodes the platform knows, with what each says of itself; empty while Valkey does not answer."""
    try:
        found = []
        for one in valkey.nodes(known):
            said = one.said
            found.append(
                {
                    "name": one.name,
                    "lane": said.get("lane", "queue"),
                    "slots": int(_number(said.get("slots"))),
                    "busy": one.busy,
                    "state": one.state,
                    "model": said.get("model"),
                    "tokens_per_second": _number(said.get("tokens_per_second")) or None,
                    "memory": int(sum(_number(said.get(part)) for part in ("memory", "resident"))) or None,
                    **{part: _number(said[part]) for part in ("free", "battery", "plugged", "heat") if said.get(part)},
                }
            )
        return found
    except ServerDown:
        return []


def _waiting(known: Settings) -> int | None:
    """How many turns wait for a node; None while Valkey does not answer."""
    try:
        return valkey.waiting(known)
    except ServerDown:
        return None


def _number(said: str | None) -> float:
    """What a node says as a figure; 0 where it says none, or nonsense: it may be a stolen one."""
    try:
        return figure(float(said or 0)) or 0.0
    except ValueError:
        return 0.0


def say(home: Home, as_json: bool) -> int:
    """Prints it; returns the exit status, and raises NotRunning where that is said in words."""
    found = status(home)
    if as_json:
        sys.stdout.write(json.dumps(found or NOTHING) + "\n")
        return int(found is None)
    if found is None:
        raise NotRunning(home.path)
    show(found)
    return 0


def show(found: dict[str, Any]) -> None:
    """The same for a person."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{found['url']}[/]   [dim]{found['home']}[/]", soft_wrap=True)
    processes = Table("process", "state", "pid", box=None, pad_edge=False)
    for name, process in found["processes"].items():
        colour = "green" if process["state"] == "running" else "yellow"
        processes.add_row(name, f"[{colour}]{process['state']}[/]", str(process["pid"] or ""))
    console.print(processes)
    if found["nodes"]:
        console.print(nodes_table(found["nodes"]))
    if found["waiting"]:
        console.print("1 turn waits." if found["waiting"] == 1 else f"{found['waiting']} turns wait.")
    if found["keeping"]["schedule"]:
        console.print(keeping.table(found["keeping"]))
        console.print("\n".join(keeping.lines(found["keeping"])))


def nodes_table(listed: list[dict[str, Any]]) -> Any:
    """The nodes for a person, a line each."""
    from rich.table import Table

    table = Table("node", "lane", "busy", "state", "model", "machine", box=None, pad_edge=False)
    for one in listed:
        busy = f"{one['busy']} of {one['slots']}"
        printed.row(table, one["name"], one["lane"], busy, one["state"], one["model"] or "", condition.words(one))
    return table
