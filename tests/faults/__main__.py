"""The long form: `python -m tests.faults --seed N --minutes M`; exit status 1 when anything was found."""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.faults import report, run


def main() -> int:
    """Run one seed, keep what came of it, and write the report anew from all runs that are kept."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="a run is planned by its seed; a new one unless given")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--keep", type=Path, default=None, help="an empty folder for the home, which then stays")
    parser.add_argument("--drill", action="store_true", help="take backups meanwhile, kill some, prove all, restore the newest")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(1_000_000)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        result = asyncio.run(run.run(given.keep or Path(folder), seed, run.long(given.minutes, drill=given.drill)))
    result.save(report.RESULTS)
    report.write(report.read())
    print(f"seed {seed}: {len(result.faults)} faults, {result.turns} turns, {result.outcomes}")
    if result.backups:
        print(f"backups: {result.backups}")
    for words in result.findings:
        print(f"  {words}", file=sys.stderr)
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())
