"""Running the stack's programs under supervisord, and asking it how they are."""

import configparser
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import xmlrpc.client
from dataclasses import dataclass
from io import StringIO
from shlex import join
from typing import Any

import psutil

from app.local import guard, leftovers, ports
from app.local.errors import ServerDown, ServerFailed
from app.local.home import Home, write_private
from app.local.program import GUARD, OURS, SERVERS, Program

#: Bytes of a log before it is turned over, and how many old ones are kept beside it.
LOG_BYTES = "5MB"
LOG_KEPT = 2
#: supervisord pauses one second longer after each failed start and gives up after so many: with the pauses
#: this is months.
START_TRIES = 10_000
#: Seconds that one question to supervisord may take.
RPC_SECONDS = 5
#: Seconds for everything to stop: two groups of four seconds, and a second for supervisord itself.
STOP_SECONDS = 9.0

STATES = {
    "RUNNING": "running",
    "STARTING": "starting",
    "BACKOFF": "backoff",
    "STOPPING": "stopping",
    "STOPPED": "stopped",
    "EXITED": "exited",
    "FATAL": "failed",
    "UNKNOWN": "failed",
}


@dataclass(frozen=True)
class ProcessState:
    """One process as the supervisor sees it; `pid` 0 while there is none."""

    name: str
    pid: int
    state: str
    #: When the latest one began, in seconds since the epoch; two tries never share one.
    began: int


class Supervisor:
    """A running supervisord and the way to talk to it."""

    def __init__(self, home: Home, record: leftovers.Record, url: str) -> None:
        self.home = home
        self.record = record
        self._rpc: Any = xmlrpc.client.ServerProxy(url, transport=_Transport()).supervisor

    @classmethod
    def start(cls, home: Home, programs: list[Program], environment: dict[str, str], attached: bool) -> "Supervisor":
        """Starts supervisord with these programs, the servers at once, ours when told.

        Attached, it ends when this process does, however that happens; otherwise it goes on alone.
        """
        held = ports.Held()
        port, password = held.pick(), secrets.token_urlsafe(32)
        conf = home.run / "supervisord.conf"
        write_private(conf, _configuration(home, programs, port, password))
        command = [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(conf)]
        death = ["--death", "TERM"] if attached else []
        held.release()
        with home.log("supervisor.err").open("w", encoding="utf-8") as errors:
            child = subprocess.Popen(
                [*GUARD, *death, "--", *command],
                # Relative paths in the configuration begin here.
                cwd=home.path,
                env=environment | ({guard.PARENT_VARIABLE: str(os.getpid())} if attached else {}),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                # Ctrl-C in the terminal is for us: we then stop all in order.
                start_new_session=True,
                umask=0o077,
            )
        url = f"http://{SUPERVISOR_USER}:{password}@{ports.LOOPBACK}:{port}/RPC2"
        leftovers.write(home, leftovers.SUPERVISOR, child.pid, url=url)
        supervisor = cls.connect(home)
        if supervisor is None:
            raise ServerFailed("the supervisor", "it ended at once", home.log("supervisor.err"))
        return supervisor

    @classmethod
    def connect(cls, home: Home) -> "Supervisor | None":
        """The supervisor of this home if it is alive."""
        record = leftovers.read(home, leftovers.SUPERVISOR)
        if record is None or record.process() is None:
            return None
        url = json.loads(record.path.read_text(encoding="utf-8")).get("url", "")
        return cls(home, record, url) if url else None

    def processes(self) -> dict[str, ProcessState]:
        """All programs by name; raises ServerDown while supervisord does not answer (yet, or any more)."""
        try:
            told = self._rpc.getAllProcessInfo()
        except (OSError, xmlrpc.client.Error, http.client.HTTPException) as error:
            raise ServerDown("the supervisor", error) from None
        return {
            info["name"]: ProcessState(info["name"], info["pid"], STATES[info["statename"]], info["start"])
            for info in told
        }

    def start_ours(self, programs: list[str]) -> None:
        """Starts these of our own processes, without waiting for one after the other."""
        for name in programs:
            self._rpc.startProcess(f"{OURS}:{name}", False)

    def alive(self) -> bool:
        """Whether supervisord itself still runs."""
        return self.record.process() is not None

    def stop(self) -> None:
        """Stops everything in order; whatever is then still there is ended by force."""
        try:
            process = psutil.Process(self.record.pid)
            if self.alive():
                process.send_signal(signal.SIGTERM)
                psutil.wait_procs([process], timeout=STOP_SECONDS)
        except psutil.NoSuchProcess:
            pass
        leftovers.end(self.home)


class _Transport(xmlrpc.client.Transport):
    """With a time limit, so that a stopped supervisord cannot hang whoever asks."""

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = RPC_SECONDS
        return connection


SUPERVISOR_USER = "meatlizard"


def _configuration(home: Home, programs: list[Program], port: int, password: str) -> str:
    parser = configparser.RawConfigParser()
    parser["supervisord"] = {
        "logfile": "logs/supervisor.log",
        "logfile_maxbytes": LOG_BYTES,
        "logfile_backups": str(LOG_KEPT),
        "pidfile": "run/supervisord.pid",
        "childlogdir": "logs",
        "nodaemon": "true",
        "silent": "true",
    }
    if os.geteuid() == 0:
        # Said outright, or it warns on every start that it will not change user.
        parser["supervisord"]["user"] = "root"
    parser["inet_http_server"] = {
        "port": f"{ports.LOOPBACK}:{port}",
        "username": SUPERVISOR_USER,
        "password": password,
    }
    parser["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface",
    }
    for program in programs:
        parser[f"program:{program.name}"] = {
            "command": _escaped(join(program.guarded(home))),
            "directory": _escaped(str(program.directory or home.path)),
            "autostart": "true" if program.group == SERVERS else "false",
            "autorestart": "true",
            "startsecs": str(program.start_seconds),
            "startretries": str(START_TRIES),
            "stopsignal": program.stop_signal,
            "stopwaitsecs": str(program.stop_seconds),
            "killasgroup": "true",
            "umask": "077",
            "redirect_stderr": "true",
            "stdout_logfile": f"logs/{program.name}.log",
            "stdout_logfile_maxbytes": LOG_BYTES,
            "stdout_logfile_backups": str(LOG_KEPT),
        }
    for priority, group in enumerate((SERVERS, OURS), start=1):
        names = [program.name for program in programs if program.group == group]
        if names:
            parser[f"group:{group}"] = {"programs": ",".join(names), "priority": str(priority)}
    text = StringIO()
    parser.write(text)
    return text.getvalue()


def _escaped(value: str) -> str:
    # supervisord replaces %(names)s in values.
    return value.replace("%", "%%")
