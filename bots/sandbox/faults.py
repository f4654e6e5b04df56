"""Misbehaviour on demand: what is to go wrong, how often or how long, and for whom."""

import itertools
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bots.sandbox.clock import Clock


class Kind(StrEnum):
    """What can go wrong."""

    STORM = "storm"
    """Every matching request is answered with 429."""
    FAIL_BEFORE = "fail_before"
    """A 5xx, and nothing happened."""
    FAIL_AFTER = "fail_after"
    """A 5xx, though it was done."""
    RESET_BEFORE = "reset_before"
    """The connection breaks, and nothing happened."""
    RESET_AFTER = "reset_after"
    """The connection breaks, though it was done."""
    SLOW = "slow"
    """The answer comes `seconds` late."""
    LOSE = "lose"
    """An event is never sent, nor replayed."""
    DELAY = "delay"
    """An event comes `seconds` late, behind what happened meanwhile."""
    DUPLICATE = "duplicate"
    """An event comes twice."""
    REORDER = "reorder"
    """An event comes behind the next one."""
    REFUSE_RESUME = "refuse_resume"
    """Resuming is answered with Invalid Session."""
    REFUSE_CONNECT = "refuse_connect"
    """The gateway answers 503."""


EVENTS = frozenset({Kind.LOSE, Kind.DELAY, Kind.DUPLICATE, Kind.REORDER})


class Order(BaseModel):
    """A fault as it is asked for: for the next `count` times, or for `during` seconds."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    count: int | None = Field(default=None, ge=1)
    during: float | None = Field(default=None, gt=0)
    seconds: float = 1.0
    """How late."""
    status: int = Field(default=500, ge=500, le=599)
    scope: str = Field(default="user", pattern="^(user|shared|global)$")
    retry_after: float | None = None
    """What a 429 says; the rest of the storm unless given."""
    bot: int | None = None
    """An application's id; everyone unless given."""
    method: str | None = None
    route: str | None = None
    """A part of the route, as "/channels/{channel}/messages"."""
    channel: int | None = None
    event: str | None = None
    """An event's name, as MESSAGE_CREATE."""


@dataclass(slots=True)
class Fault:
    """A fault that waits for its moment."""

    id: int
    order: Order
    left: int | None
    until: float | None
    hits: int = 0


@dataclass(slots=True)
class Faults:
    """All of them; what has done its work is forgotten."""

    clock: Clock
    _orders: list[Fault] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)

    def add(self, order: Order) -> Fault:
        """Let something go wrong; without count and during just once."""
        once = order.count is None and order.during is None
        until = None if order.during is None else self.clock.time() + order.during
        fault = Fault(next(self._numbers), order, 1 if once else order.count, until)
        self._orders.append(fault)
        return fault

    def clear(self) -> None:
        """Let everything go right again."""
        self._orders.clear()

    def waiting(self) -> list[dict[str, Any]]:
        """What may still go wrong."""
        self._tidy()
        return [
            {"id": one.id, "left": one.left, "until": one.until, "hits": one.hits}
            | one.order.model_dump(mode="json", exclude_none=True)
            for one in self._orders
        ]

    def request(self, kind: Kind, bot: int | None, method: str, route: str, channel: int | None) -> Fault | None:
        """The fault that hits this request, if any; it counts as used."""
        for one in self._of(kind):
            wanted = one.order
            if (
                wanted.bot in (None, bot)
                and wanted.method in (None, method)
                and (wanted.route is None or wanted.route in route)
                and wanted.channel in (None, channel)
            ):
                return self._use(one)
        return None

    def event(self, bot: int, name: str, channel: int | None) -> Fault | None:
        """The fault that hits this event for this bot, if any."""
        self._tidy()
        for one in self._orders:
            wanted = one.order
            if (
                wanted.kind in EVENTS
                and wanted.bot in (None, bot)
                and wanted.event in (None, name)
                and wanted.channel in (None, channel)
            ):
                return self._use(one)
        return None

    def gateway(self, kind: Kind, bot: int | None) -> Fault | None:
        """The fault that hits this connection, if any."""
        for one in self._of(kind):
            if bot is None or one.order.bot in (None, bot):
                return self._use(one)
        return None

    def _of(self, kind: Kind) -> list[Fault]:
        self._tidy()
        return [one for one in self._orders if one.order.kind == kind]

    def _use(self, fault: Fault) -> Fault:
        fault.hits += 1
        if fault.left is not None:
            fault.left -= 1
        return fault

    def _tidy(self) -> None:
        now = self.clock.time()
        self._orders = [
            one for one in self._orders if (one.left is None or one.left > 0) and (one.until is None or one.until > now)
        ]
