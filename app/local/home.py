"""The one folder that holds all state of a stack, and who may read it.

It and everything made in it is private to its owner (folders 0700, files 0600). A folder that was there
before is used as it is: its permissions are never touched, since what lies in it is private by itself.
"""

import errno
import os
import pwd
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from app.local.errors import DiskFull, HomeUnusable, LocalError

#: Bytes that must be free before a start: a first run writes 60 MB, the rest keeps the write-ahead logs going.
DISK_NEEDED = 1 << 30
#: What the settings file of the stack is called; its presence tells that a folder is a home.
SETTINGS_FILE = "meatlizard.env"


@dataclass(frozen=True)
class Home:
    """Paths below one state folder; making the object touches nothing."""

    path: Path

    @classmethod
    def at(cls, given: str | os.PathLike[str] | None = None) -> "Home":
        """The home meant: as given, else MEATLIZARD_HOME, else ~/.meatlizard; absolute, links resolved."""
        chosen = Path(given or os.environ.get("MEATLIZARD_HOME") or "~/.meatlizard")
        try:
            path = chosen.expanduser().resolve()
        except (OSError, RuntimeError) as error:
            raise HomeUnusable(f"{chosen} cannot be used as home ({error}): choose another with --home DIR") from None
        # The supervisor's configuration is an INI file: these would end a value or begin a comment in it.
        if any(bad in str(path) for bad in ("\n", "\r", " ;", " #", '"')):
            raise HomeUnusable(f"{path!s:.200}: a home may not hold line ends, quotes, ' ;' or ' #': choose another")
        return cls(path)

    @property
    def data(self) -> Path:
        """What the servers keep: postgres, redis, s3."""
        return self.path / "data"

    @property
    def logs(self) -> Path:
        """One file for each process."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """What holds for this start only: configurations, pids, the lock."""
        return self.path / "run"

    @property
    def nodes(self) -> Path:
        """The settings file of each node."""
        return self.path / "nodes"

    @property
    def models(self) -> Path:
        """Models that were fetched."""
        return self.path / "models"

    @property
    def settings(self) -> Path:
        """The settings of the stack, all its secrets among them."""
        return self.path / SETTINGS_FILE

    @property
    def admin_password(self) -> Path:
        """The password of the first administrator."""
        return self.path / "admin-password"

    def log(self, name: str) -> Path:
        """The log of the process of that name."""
        return self.logs / f"{name}.log"

    def exists(self) -> bool:
        """Whether a stack was set up here before."""
        return self.settings.is_file()

    def make(self) -> None:
        """Makes what is missing, private; raises HomeUnusable or DiskFull when this user cannot live there."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.data, self.logs, self.run, self.nodes, self.models):
                private_folder(folder)
            self._check_owner()
            probe = self.path / f".write-{secrets.token_hex(4)}"
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError as error:
            raise explain(error, self.path) from None
        self.check_disk()

    def check_disk(self) -> None:
        """Raises DiskFull when too little room is left."""
        free = shutil.disk_usage(self.path).free
        if free < DISK_NEEDED:
            raise DiskFull(self.path, free, DISK_NEEDED)

    def _check_owner(self) -> None:
        # Root could write into a user's home, and would leave files there that the user cannot read.
        owner = self.path.stat().st_uid
        if owner != os.geteuid():
            raise HomeUnusable(
                f"{self.path} belongs to {user_name(owner)}: run this as {user_name(owner)}, "
                f"or choose a folder of your own with --home DIR"
            )


def private_folder(folder: Path) -> None:
    """Makes the folder with mode 0700 whatever the umask is; one that is there already stays as it is."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise HomeUnusable(f"{folder} is in the way and not a folder: move it, or use another --home") from None


def write_private(path: Path, text: str) -> None:
    """Replaces a file at one stroke; nobody else can read it at any moment, and links are not followed."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def explain(error: OSError, path: Path) -> LocalError:
    """The system's refusal as a line that says what to do; `path` is where it was if it does not say."""
    where = Path(error.filename) if error.filename else path
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return DiskFull(path, 0, DISK_NEEDED)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return HomeUnusable(
                f"no permission to write {where}: run this as its owner, or choose another folder with --home DIR"
            )
        case errno.ENAMETOOLONG:
            return HomeUnusable("the path of the home is too long: choose a shorter one with --home DIR")
        case errno.ENOTDIR | errno.ELOOP | errno.EEXIST:
            return HomeUnusable(f"{where} is not below a folder: choose another with --home DIR")
        case _:
            said = error.strerror or str(error)
            return HomeUnusable(f"cannot use {where} ({said}): choose another folder with --home DIR")


def user_name(uid: int) -> str:
    """The account's name, or its number when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
