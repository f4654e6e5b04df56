"""What can go wrong on this machine, each said in one line that tells the person what to do.

LocalError
├── HomeUnusable        no permission, another user's folder, a path that cannot be written down
├── DiskFull            too little room left
├── PortTaken           the port that was asked for belongs to somebody else
├── MissingPart         a server's binary, the model package or a module is not installed
├── ModelUnusable       the model file is missing, cut short or altered
├── ServerDown          a server or process does not answer now; it may in a moment
├── ServerFailed        a supervised process does not come up at all
├── AlreadyStarting     another `up` holds this home
├── AlreadyRunning      it runs, and otherwise than asked for
└── NotRunning          there is no stack to talk to
"""

from pathlib import Path


class LocalError(Exception):
    """Base of all; `str()` is the one line a person sees."""

    #: Exit status of the command that met it.
    exit_status = 1


class HomeUnusable(LocalError):
    """The folder for all state cannot be used by this user."""


class DiskFull(LocalError):
    """Too little room is left to go on safely."""

    def __init__(self, path: Path, free: int, needed: int) -> None:
        super().__init__(
            f"only {free >> 20} MB left on the disk of {path}: free {needed >> 20} MB there, "
            f"or choose another folder with --home DIR"
        )


class PortTaken(LocalError):
    """The port asked for belongs to another program."""

    def __init__(self, port: int) -> None:
        super().__init__(
            f"port {port} is used by another program: stop that one, or choose another with --port N "
            f"(without --port a free one is picked)"
        )


class MissingPart(LocalError):
    """Something that is installed with us is not there."""


class ModelUnusable(LocalError):
    """The model file is missing, cut short or altered."""


class ServerDown(LocalError):
    """A server or process does not answer now."""

    def __init__(self, name: str, said: object) -> None:
        super().__init__(f"{name} does not answer ({said}): look at `meatlizard status`")
        self.said = str(said)


class ServerFailed(LocalError):
    """A supervised process does not come up."""

    def __init__(self, name: str, said: str, log: Path) -> None:
        last = f" ({said})" if said else ""
        super().__init__(f"{name} does not start{last}: read {log}, mend it and run `meatlizard up` again")


class AlreadyStarting(LocalError):
    """Another `up` holds this home."""

    def __init__(self, home: Path) -> None:
        super().__init__(f"another `meatlizard up` is busy with {home}: wait for it, or use another --home DIR")


class AlreadyRunning(LocalError):
    """A stack that runs cannot be changed by another `up`."""

    def __init__(self, home: Path, option: str, now: object) -> None:
        super().__init__(f"{home} runs already, with --{option} {now}: `meatlizard down` first to change it")


class NotRunning(LocalError):
    """There is no stack to talk to."""

    def __init__(self, home: Path) -> None:
        super().__init__(f"nothing runs in {home}: start it with `meatlizard up`")
