"""Flower hears what workers say, and lets go of what no worker of ours would."""

import time
from typing import Any

import pytest
from flower import events

from app.wire import names
from workers import hearing


def said(**more: Any) -> dict[str, Any]:
    beat = {"type": "worker-heartbeat", "hostname": "home@mac.local", "timestamp": time.time(), "clock": 7, "pid": 12, "utcoffset": -1}
    return beat | {"freq": 2.0, "active": 0, "processed": 3, "loadavg": [0.1, 0.2, 0.3], "sw_ident": "py-celery"} | more


@pytest.mark.parametrize(
    "event",
    [
        said(),
        said(type="worker-online"),
        said(type="task-received", uuid="1", name=names.GENERATE, args="(1,)", kwargs="{}", retries=0, eta=None, expires=None),
        said(type="task-succeeded", uuid="1", runtime=0.5, result="None"),
        said(type="task-failed", uuid="1", exception="Gone()", traceback="x" * 5000),
        said(type="task-revoked", uuid="1", terminated=False, signum=None, expired=True),
    ],
)
def test_what_a_worker_says_is_heard(event: dict[str, Any]) -> None:
    assert hearing.sound(event)


@pytest.mark.parametrize(
    "event",
    [
        *(b"", None, 7, [], {}, "worker-heartbeat"),
        *(said(freq=word) for word in ("x", None, 1e308, [], float("nan"), True)),
        *(said(timestamp=word) for word in ("x", -1e300, 0, time.time() + 90_000, float("inf"))),
        *(said(hostname=word) for word in (None, [1], "", "<img src=x>@h", "x" * 300 + "@h", "nobody")),
        *(said(loadavg=word) for word in ("x", ["x"], [], None)),
        *(said(type=word) for word in ("x", None, [], "task-\0", "task-x")),
        *(said(type="task-started", uuid=word) for word in (None, ["x"], 7)),
        said(type="task-received", uuid="1", name="<b>"),
        said(type="task-received", uuid="1", name=names.GENERATE, args="x" * 1_000_000),
        said(type="task-received", uuid="1", name=names.GENERATE, eta={"x": 1}),
        {key: value for key, value in said().items() if key != "clock"},
    ],
)
def test_what_none_would_say_is_not(event: Any) -> None:
    """One heartbeat that comes every "x" seconds broke Flower's pages until its memory was thrown away."""
    assert not hearing.sound(event)


def test_flower_hears_by_it_and_keeps_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EventReceiver", events.EventReceiver)
    hearing.use()
    assert events.EventReceiver is hearing.Receiver
    receiver, heard = object.__new__(hearing.Receiver), []
    receiver._workers = set()  # type: ignore[misc]
    receiver.process = lambda kind, event: heard.append(event["hostname"])
    receiver.event_from_message = lambda event: (event["type"], event)
    receiver._receive([said(hostname=f"node-{number}@x") for number in range(1000)], None)
    receiver._receive(said(freq="x"), None)
    receiver._receive(said(hostname="node-1@x"), None)
    assert len(set(heard)) == hearing.MOST_WORKERS
    assert heard[-1] == "node-1@x"
