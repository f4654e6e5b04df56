"""Writes docs/reliability.md from what the runs have left: what was tried, how often, and what came out."""

import json
import platform
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
REPORT: Final = REPOSITORY / "docs" / "reliability.md"
RESULTS: Final = REPOSITORY / "build" / "faults"

HEAD: Final = """\
# What was broken, and what came of it

Written by the fault suite (`make faults`), not by hand. People ask, watch, lose their line, come back and press stop,
while a driver breaks things at moments that a seed decides. At the end a checker that shares no code with the platform
holds what each page showed against what the engines wrote down as they made it and against what PostgreSQL keeps.

A run is good when every accepted prompt has exactly one outcome, every answered one the same text in all three places,
byte for byte, no slot, lease, channel, task or process is left behind, and nobody waits for ever.
"""
SETTING: Final = (
    "each with PostgreSQL, Valkey, S3, one node with llama.cpp and a small model, the others with a paced stand-in, one "
    "of them with Discord (the sandbox) alone, and all of the load on the same cores."
)
HOW: Final = """\
## What each kind does

| kind | what is done |
|---|---|
| killed, ended, stopped | SIGKILL; SIGTERM, and SIGKILL 20 s later as a supervisor would (to PostgreSQL the SIGINT with which it is stopped in earnest: its SIGTERM waits for every client to leave); SIGSTOP, and SIGCONT seconds later |
| wire cut, slow, lossy | a TCP proxy before each server, and one for each node: connections reset and refused; 500 ms more each way; every fifth piece late by what sending it again would take, some connections broken |
| wire half-open, deaf | what is sent is swallowed and nobody is told, for the connections there are, or for new ones too |
| emptied, restarted without its data | FLUSHALL, and the same with SIGKILL |
| disk full | a limit on the size of files, which fails writes as a full disk does: PostgreSQL stops at its log, Valkey refuses to write |
| tasks delivered twice (and out of order) | a second's jobs are doubled while their node is stopped; a second's outcomes are doubled and shuffled while the worker is |
| clock stepped | `time.time` of one process is ten minutes off, forwards or back; what asks the kernel in another way (`datetime.now`, PostgreSQL, Valkey) stays right |
| discord | what the sandbox does when asked: the gateway drops, plays dead, forgets sessions, is away; posts fail or break off, done or not; events lost, late, twice, out of order; 429 for everybody; channels deleted by hand; somebody else says what a bot said |
| engine ... | the stand-in of llama-server crashes, aborts for lack of memory, hangs, answers garbage, ends a stream early, answers 500, reads a prompt for long with and without progress, each after a random token |

A turn may fail: three attempts, then a reason and a Retry button. What may not happen is that it fails without a word,
that a text is shown that nobody made, or that somebody waits for ever.
"""


def read(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return what the runs have left, by seed."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("seed-*.json"))]


def write(results: list[dict[str, Any]], path: Path = REPORT) -> None:
    """Write the report."""
    path.write_text("\n".join([HEAD, _runs(results), "", _kinds(results), "", HOW]))


def _runs(results: list[dict[str, Any]]) -> str:
    lines = [
        "## The runs",
        "",
        f"On {platform.system()} {platform.machine()}; {SETTING}",
        "",
        "| seed | minutes | faults | turns | done | cancelled | failed, with a reason | middle and longest wait | findings |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        states = one["outcomes"]
        told = " | ".join(str(states.get(state, 0)) for state in ("done", "cancelled", "failed"))
        lines.append(
            f"| {one['seed']} | {one['seconds'] / 60:.1f} | {len(one['faults'])} | {one['turns']} | {told} "
            f"| {one['typical']:.1f} s, {one['slowest']:.0f} s | {len(one['findings']) or 'none'} |"
        )
    findings = [f"- seed {one['seed']}: {words}" for one in results for words in one["findings"]]
    return "\n".join([*lines, *(["", "Findings:", "", *findings] if findings else []), *_drills(results)])


def _drills(results: list[dict[str, Any]]) -> Iterator[str]:
    """Tell what became of the backups of the runs that were drills."""
    for one in results:
        if count := one.get("backups"):
            told = ", ".join(f"{number} {what}" for what, number in sorted(count.items()) if not what.endswith("compared"))
            rows = sum(number for what, number in count.items() if what.endswith("compared"))
            yield ""
            yield (
                f"Seed {one['seed']} was a drill: backups were taken all the while ({told}). Each of the whole ones was proven afterwards, "
                f"and the newest brought back: {rows} rows that were there at its moment were as they had been."
            )


def _kinds(results: list[dict[str, Any]]) -> str:
    counted: Counter[str] = Counter()
    longest: dict[str, float] = defaultdict(float)
    for one in results:
        for fault in one["faults"]:
            counted[fault["sort"]] += 1
            longest[fault["sort"]] = max(longest[fault["sort"]], fault["seconds"])
    lines = ["## What was tried", "", "| fault | times | longest |", "|---|---|---|"]
    lines += [f"| {name} | {times} | {longest[name]:.0f} s |" for name, times in sorted(counted.items())]
    return "\n".join([*lines, f"| all | {counted.total()} | |"])
