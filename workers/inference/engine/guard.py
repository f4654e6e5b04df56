"""Runs one command so that it never outlives the process that asked for it, however that process ends.

    python guard.py [--stay] PARENT_PID COMMAND...

On Linux the kernel is told to kill this process with its parent, and the command takes its place. Elsewhere there
is no such call: this process stays, holds the command as its child and ends it as soon as the parent is gone.
Stands alone (standard library only), so that it starts in milliseconds and from anywhere.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
#: How often the parent is looked for where kqueue cannot tell.
POLL_SECONDS = 0.2
#: After SIGTERM; a process that is loading or wedged does not answer it.
GRACE_SECONDS = 2.0


def become(parent: int, command: list[str]) -> None:
    """Replace this process by `command`, bound to `parent`. Linux only.

    The kernel sends the signal when the *thread* that forked us ends, so the parent must spawn from a thread
    that lives as long as itself (its event loop's).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"guard: prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        # It died before the call above: nobody would be told any more.
        sys.exit("guard: the parent is gone")
    os.execvp(command[0], command)  # noqa: S606 - the point of it: no shell, no process between


def stay(parent: int, command: list[str]) -> int:
    """Run `command` as a child, end it when `parent` goes, and return its exit status."""
    child = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    threading.Thread(target=_follow, args=(parent, child), daemon=True).start()
    return child.wait()


def _follow(parent: int, child: subprocess.Popen[bytes]) -> None:
    _wait_for_end(parent)
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def _wait_for_end(parent: int) -> None:
    if sys.platform == "darwin":
        queue = select.kqueue()
        watch = select.kevent(parent, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        try:
            if os.getppid() == parent:
                queue.control([watch], 1, None)
        except ProcessLookupError:
            pass
        return
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)


def main(arguments: list[str]) -> None:
    """Parse the two words before the command and run it."""
    must_stay = arguments[:1] == ["--stay"]
    parent, *command = arguments[must_stay:]
    if sys.platform == "linux" and not must_stay:
        become(int(parent), command)
    status = stay(int(parent), command)
    if status < 0:
        # Die as the child did, so that whoever waits for us sees the same cause.
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
