"""Installs hashed requirement files with pip and says in one line what it is doing; needs nothing but Python.

    python requirements/install.py FILE ...
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile"]
LOCKED = ["--no-deps", "--require-hashes"]
QUIET_SECONDS = 10
"""Where the output is no terminal, a line is printed only after so long: never a silent minute, never a wall of log."""


def main(files: list[str]) -> int:
    """Install the files and return pip's exit status."""
    total = sum(len(re.findall(r"^[a-z0-9].*==", Path(file).read_text(), re.MULTILINE)) for file in files)
    command = [*PIP, *LOCKED, *(word for file in files for word in ("-r", file))]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:  # Not a pipe: nobody reads it before the end.
        return run(command, total, errors)


def run(command: list[str], total: int, errors: TextIO) -> int:
    """Run pip, show how far it is, and say in one line why it failed if it does."""
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace")
    assert pip.stdout is not None
    terminal, done, last = sys.stdout.isatty(), 0, time.monotonic()
    for line in pip.stdout:
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            done += 1
        what = line.partition(" (from ")[0].strip()
        if what.startswith("Installing collected packages"):
            what = "unpacking"
        elif not what.startswith(("Collecting ", "Downloading ")):
            continue
        if terminal:
            print(f"\r\033[K  {min(done, total)}/{total} {what[:60]}", end="", flush=True)
        elif time.monotonic() - last > QUIET_SECONDS:
            print(f"  {min(done, total)}/{total} {what[:60]}", flush=True)
            last = time.monotonic()
    if terminal:
        print("\r\033[K", end="", flush=True)
    if pip.wait():
        errors.seek(0)
        lines = errors.read().splitlines()
        # pip warns about many things that are not why it failed; its errors are the last lines.
        told = [line for line in lines if line.startswith("ERROR:")] or lines[-5:]
        print("\n".join(told), file=sys.stderr)
        print(
            "meatlizard: the packages could not be installed. Check the network and the disk, then run it again.",
            file=sys.stderr,
        )
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
