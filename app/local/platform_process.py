"""The near end of `app.local.platform`: starts it, asks once, hands on what it says."""

import json
import subprocess
import sys
from typing import Any, Protocol

from app.local.errors import ServerFailed
from app.local.home import Home
from app.local.logtail import last_line

#: Seconds a migration may take; a large database with a new index needs its time.
PREPARE_SECONDS = 600


class Platform(Protocol):
    """What `up` needs of the platform's code; tests give a stand-in."""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Does what `app.local.platform.prepare` does; returns its answer."""
        ...

    def close(self) -> None:
        """Ends it, whatever it is doing."""
        ...


class PlatformProcess:
    """Our own code, importing since this object was made."""

    def __init__(self, home: Home, environment: dict[str, str]) -> None:
        self._home = home
        with home.log("prepare").open("w", encoding="utf-8") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "app.local.platform"],
                cwd=home.path,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raises ServerFailed with the last line it said when it cannot do what is asked."""
        answer, _ = self._child.communicate(json.dumps(request), timeout=PREPARE_SECONDS)
        if self._child.returncode:
            raise ServerFailed("preparing the database", last_line(self._home, "prepare"), self._home.log("prepare"))
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """Kills it if it still runs: a start that failed needs no answer."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.communicate()
