"""Long waits of discord.py, turned into steps of the sandbox's clock: a rate limit of a minute takes no minute."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import discord.http
import pytest

from bots.sandbox.clock import Clock

SHORT_SECONDS = 1.0
"""Pauses up to this are slept."""


@dataclass
class Hurry:
    """Stands for the module `asyncio` where discord.py waits; `waited` is what it would have slept."""

    clock: Clock
    waited: list[float] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float, result: Any = None) -> Any:
        if seconds > SHORT_SECONDS:
            self.waited.append(seconds)
            self.clock.advance(seconds)
            seconds = 0
        return await asyncio.sleep(seconds, result)


def hurry(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Hurry:
    """Let discord.py wait on the sandbox's clock for the rest of the test."""
    made = Hurry(clock)
    monkeypatch.setattr(discord.http, "asyncio", made)
    return made
