"""Starts one program so that it cannot outlive its parent, then becomes it (exec).

Run as a bare file by a bare interpreter (`python -I -S guard.py ...`), so it may import the standard library
only. On Linux the kernel is asked to send `--death` when the parent dies, however it dies. Other systems have
no such request; there the record written to `--record` lets the next start end what was left over.
"""

import argparse
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

#: From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
#: The pid of the guard above: exec keeps the pid, so a guard started by a guarded program finds its parent's
#: here and can tell whether that one died in the instant before the kernel was asked.
PARENT_VARIABLE = "MEATLIZARD_GUARD"


def main() -> None:
    """Do what the options say, then become the command."""
    options = _options()
    if options.record:
        _record(options.record)
    if options.environment:
        os.environ.update(_environment(options.environment))
    if options.uid is not None:
        # Before the request below: the kernel forgets it when the user changes.
        os.setgroups([])
        os.setgid(options.uid)
        os.setuid(options.uid)
    if options.death:
        _die_with_parent(signal.Signals[f"SIG{options.death}"])
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    try:
        os.execvp(options.command[0], options.command)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.exit(f"cannot run {options.command[0]}: {error.strerror}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", help="file for this process's pid and time of start")
    parser.add_argument("--death", help="signal name to get when the parent dies, as TERM")
    parser.add_argument("--uid", type=int, help="become this user and the group of the same number")
    parser.add_argument("--environment", help="JSON file of variables to add: secrets stay out of `ps`")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def _record(path: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump({"pid": os.getpid(), "created": time.time()}, file)


def _environment(path: str) -> dict[str, str]:
    return {str(key): str(value) for key, value in json.loads(Path(path).read_text(encoding="utf-8")).items()}


def _die_with_parent(death: signal.Signals) -> None:
    # What a script puts into the background is started with SIGINT ignored, and hands that on to all its children.
    if death != signal.SIGKILL:
        signal.signal(death, signal.SIG_DFL)
    meant = int(os.environ.get(PARENT_VARIABLE) or os.getppid())
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(death), 0, 0, 0):
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != meant:
        sys.exit("the process that asked for this one is gone")


if __name__ == "__main__":
    main()
