"""One run of the suite: stage, load and driver together, then the checker."""

import asyncio
import json
import random
import shutil
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.faults import checker, injections
from tests.faults.drill import Drill
from tests.faults.driver import Done, Driver, Pace
from tests.faults.load import Load
from tests.faults.stage import Stage

LOGS: Final = Path(__file__).resolve().parents[2] / "build" / "faults" / "logs"
PATIENCE_SECONDS: Final = 240
"""After the last hand is off, within which everybody has an outcome: three leases of the slower lane, and then some."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    nodes: int
    people: int
    pace: Pace
    each_once: bool = False
    drill: bool = False
    """Whether backups are taken meanwhile, and one is brought back at the end."""


SHORT: Final = Size(3, 24, Pace(45, 0.35, 2.5), each_once=True)
"""Each kind once, and each process killed, in about a minute."""


def long(minutes: float, *, drill: bool = False) -> Size:
    """The long form: faults of up to a minute, about one every five seconds."""
    return Size(4, 48, Pace(minutes * 60, 3.6, 60), drill=drill)


@dataclass
class Result:
    """What was tried and what came out."""

    seed: int
    seconds: float
    faults: list[Done]
    turns: int
    outcomes: dict[str, int]
    pages: int
    slowest: float
    """Seconds that the longest wait took, and below the middle one."""
    typical: float
    findings: list[str] = field(default_factory=list)
    backups: dict[str, int] = field(default_factory=dict)
    """What became of the backups of a drill."""

    def save(self, folder: Path) -> None:
        """Keep it for the report."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"seed-{self.seed}.json").write_text(json.dumps(asdict(self), indent=1))


async def run(folder: Path, seed: int, size: Size) -> Result:
    """Break things, then look; the stage is taken down whatever happens."""
    print(f"seed {seed}", file=sys.stderr, flush=True)
    dice = random.Random(seed)
    stage = Stage.at(folder, size.nodes)
    sound = False
    try:
        await stage.start(dice)
        result = await _break(stage, seed, size, dice)
        sound = not result.findings
        return result
    finally:
        await stage.stop()
        if not sound:
            # What the temporary folder would take along is what tells why.
            shutil.copytree(stage.home.logs, LOGS / f"seed-{seed}", dirs_exist_ok=True)
            shutil.copytree(stage.journals, LOGS / f"seed-{seed}", dirs_exist_ok=True)


async def _break(stage: Stage, seed: int, size: Size, dice: random.Random) -> Result:
    load = Load(stage, size.people, seed)
    driver = Driver(injections.all_of(stage, load, dice), dice, size.pace, each_once=size.each_once)
    drill = Drill(stage, dice)
    began = time.monotonic()
    asking = asyncio.create_task(load.run())
    backing_up = asyncio.create_task(drill.run(load.over)) if size.drill else None
    await driver.run()
    load.over.set()
    trouble = [one.trouble for one in driver.done if one.trouble]
    try:
        await stage.whole_again()
    except TimeoutError:
        trouble.append(f"not whole again: {await asyncio.to_thread(stage.said)}")
    await asyncio.wait([asking], timeout=PATIENCE_SECONDS)
    load.given_up.set()
    await asking
    findings = trouble + await _settled(stage, load)
    if backing_up:
        await backing_up
        findings += await asyncio.to_thread(list, drill.look())
    states = Counter(one.ending.get("event", "none") for one in load.asked if not one.second_page)
    waits = [one.seconds for one in load.asked if not one.second_page] or [0.0]
    turns = sum(not one.second_page for one in load.asked)
    return Result(seed, time.monotonic() - began, driver.done, turns, dict(states), len(load.asked), max(waits), median(waits), findings, dict(drill.count))


async def _settled(stage: Stage, load: Load) -> list[str]:
    """Look until nothing is found, or what is found does not go away."""
    findings: list[Any] = []
    for _ in range(PATIENCE_SECONDS):
        findings = await asyncio.to_thread(checker.check, stage, load.asked)
        if not findings:
            break
        await asyncio.sleep(1)
    return findings
