"""Interactions that wait for an answer: a 3 s deadline for the first, 15 minutes for the rest."""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from bots.sandbox.clock import Clock

ANSWER: Final = 3.0
"""Seconds for the first response (docs: interactions/receiving-and-responding, Interaction Callback)."""
LIFETIME: Final = 15 * 60.0
"""Seconds a token works."""

COMMAND: Final = 2
COMPONENT: Final = 3
AUTOCOMPLETE: Final = 4


@dataclass(slots=True)
class Interaction:
    """One use of a command or a button."""

    id: int
    application: int
    kind: int
    channel: int
    user: int
    name: str
    since: float
    message: int | None = None
    """The message whose button was pressed."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(64))
    answered: bool = False
    deferred: bool = False
    ephemeral: bool = False
    original: int | None = None
    """The message that is the first response."""
    messages: list[int] = field(default_factory=list)
    choices: list[dict[str, Any]] | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Desk:
    """All interactions of the last minutes, by id and by token; a restart forgets them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_id: dict[int, Interaction] = {}

    def open(self, interaction: Interaction) -> Interaction:
        """Hand one in."""
        now = self._clock.time()
        self._by_id = {key: one for key, one in self._by_id.items() if now - one.since <= LIFETIME * 2}
        self._by_id[interaction.id] = interaction
        return interaction

    def find(self, interaction: int) -> Interaction | None:
        """By id, also after its time, so that a page can say what became of it."""
        return self._by_id.get(interaction)

    def by_token(self, token: str) -> Interaction | None:
        """By token."""
        return next((one for one in self._by_id.values() if secrets.compare_digest(one.token, token)), None)

    def late(self, interaction: Interaction) -> bool:
        """Whether nobody answered in time: Discord then throws the token away."""
        return not interaction.answered and self._clock.time() - interaction.since > ANSWER

    def expired(self, interaction: Interaction) -> bool:
        """Whether the token's 15 minutes are over."""
        return self._clock.time() - interaction.since > LIFETIME

    def state(self, interaction: Interaction) -> str:
        """What the person sees: waiting, thinking, answered, failed."""
        if interaction.answered:
            return "thinking" if interaction.deferred else "answered"
        return "failed" if self.late(interaction) else "waiting"
