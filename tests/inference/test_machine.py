"""What a machine says of itself, and what it does not when its system does not tell."""

from types import SimpleNamespace

import psutil
import pytest

from workers.inference import machine


def test_memory_is_always_told() -> None:
    found = machine.look()
    assert found.resident > 10 << 20
    assert found.free > 0
    assert None not in found.told().values()


def test_battery_and_heat_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    battery = SimpleNamespace(percent=71.6, power_plugged=False)
    sensors = {"cpu": [SimpleNamespace(current=55.5), SimpleNamespace(current=61.0)], "broken": [SimpleNamespace(current=900.0)]}
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors, raising=False)
    told = machine.look().told()
    assert (told["battery"], told["plugged"], told["heat"]) == (72, 0, 61.0)


def test_a_system_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    assert set(machine.look().told()) == {"resident", "free"}
