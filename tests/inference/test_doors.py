"""A node's doors: what nobody foresaw in one closes it for a moment, and neither the other doors nor the node's end."""

import asyncio
import threading

import pytest
from cryptography.fernet import Fernet

from app.wire.envelope import NodeKeys, Ring
from tests.support.waiting import PATIENCE
from workers.inference import keyring
from workers.inference.node import Node
from workers.inference.settings import NodeSettings

MASTER = Ring.parse(Fernet.generate_key().decode())
NEWER = Ring.parse(f"{Fernet.generate_key().decode()},{MASTER.dump()}")


class Stumbling:
    """A door that falls out once in serving, and once more in closing."""

    def __init__(self) -> None:
        self.opened = 0
        self.told = 0
        self.open = threading.Event()

    async def serve(self) -> None:
        self.opened += 1
        if self.opened == 1:
            raise RuntimeError("nobody foresaw this")
        self.open.set()
        await asyncio.Event().wait()

    async def tell(self) -> None:
        self.told += 1

    async def close(self) -> None:
        raise OSError("no room is left")


class Steady(Stumbling):
    """One that serves and closes as it should."""

    def __init__(self) -> None:
        super().__init__()
        self.opened, self.closed = 1, False

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Node:
    monkeypatch.setenv("MEATLIZARD_HOME", str(tmp_path))
    keys = NodeKeys.of(MASTER, "home").dump()
    # Nothing answers at this address; the doors are there all the same.
    given = {"node": "home", "node_keys": keys, "llama_url": "http://127.0.0.1:9", "drain_seconds": 0}
    return Node(NodeSettings(_env_file=None, **given))  # type: ignore[call-arg,arg-type]  # Pydantic reads more than it declares.


def test_a_door_that_falls_out_is_opened_again_and_costs_no_other(node: Node) -> None:
    stumbling, steady = Stumbling(), Steady()
    for door in (stumbling, steady):
        node.add(door)
    node.start()
    try:
        assert steady.open.wait(PATIENCE)
        assert stumbling.open.wait(PATIENCE)
    finally:
        node.stop()
    assert (stumbling.opened, steady.opened) == (2, 2), "the other one was opened once, as it was"
    assert steady.closed


async def test_newer_keys_hold_also_where_they_cannot_be_written_down(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no room is left")

    monkeypatch.setattr(keyring, "keep", full)
    steady = Steady()
    node.add(steady)
    newer = NodeKeys.of(NEWER, "home")
    await node.adopt(NodeKeys.of(MASTER, "home").hand_over(newer))
    assert node.keys.marks == newer.marks
    assert steady.told == 1
