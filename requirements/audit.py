"""Asks PyPI's advisories about every package of hashed requirement files, and never takes silence for "nothing known".

    python requirements/audit.py FILE ...
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PIP_AUDIT = [Path(sys.executable).with_name("pip-audit"), "--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
SHOWN = 5
"""Packages that could not be looked up, by name; the others are counted."""


def main(files: list[str]) -> int:
    """Ask about each file; return 0 where every package was looked up and none is known to be bad."""
    bad = False
    for file in files:
        made = subprocess.run([*PIP_AUDIT, "-r", file], capture_output=True, text=True, check=False)
        try:
            sound, words = judged(json.loads(made.stdout))
        except ValueError:
            why = (made.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
            sound, words = False, f"the advisories could not be asked: {why[:200]}"
        print(f"{file}: {words}", file=sys.stdout if sound else sys.stderr)
        bad = bad or not sound
    if bad:
        print("meatlizard: this is no clean bill. Advisories are asked for at PyPI: run it where that can be reached.", file=sys.stderr)
    return int(bad)


def judged(report: dict[str, Any]) -> tuple[bool, str]:
    """Return whether a report of pip-audit's is a clean bill, and what to say of it."""
    found = report["dependencies"]
    skipped = [one["name"] for one in found if "skip_reason" in one]
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for one in found
        for hole in one.get("vulns", ())
    ]
    if holes:
        return False, f"{len(holes)} known holes: " + "; ".join(holes)
    if skipped:
        rest = f" and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
        names = ", ".join(skipped[:SHOWN]) + rest
        return False, f"nothing can be said of {len(skipped)} of {len(found)} packages, since no advisories came for them: {names}"
    return bool(found), f"{len(found)} packages, nothing known against any"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
