"""A guild in the sandbox with the Server-Bot in it, and people who use its commands."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from app.services import links
from app.services.accounts import Person
from bots.sandbox.records import EPHEMERAL, Message
from bots.sandbox.server import Sandbox
from bots.server.bot import ServerBot
from tests.sandbox.people import Control
from tests.server_bot.stage import Stage
from tests.support.waiting import until_async


@dataclass
class Hall:
    """What people meet in Discord, seen from outside."""

    sandbox: Sandbox
    control: Control
    stage: Stage
    bots: list[ServerBot] = field(default_factory=list)

    @property
    def bot(self) -> ServerBot:
        return self.bots[-1]

    @asynccontextmanager
    async def server_bot(self) -> AsyncIterator[ServerBot]:
        """Let a Server-Bot connect; wait until its commands are there."""
        async with self.stage.server_bot() as bot:
            self.bots.append(bot)
            await until_async(self._offered)
            try:
                yield bot
            finally:
                self.bots.remove(bot)

    async def _offered(self) -> bool:
        return bool(self.sandbox.world.store.commands)

    async def run(self, command: str, member: str = "ada", channel: str | int = "general", **options: Any) -> Any:
        """Use a command and wait for its first answer."""
        return await self.control("run", member=member, channel=str(channel), command=command, options=options)

    async def complete(self, command: str, focused: str, typed: str, member: str = "ada", **more: Any) -> list[dict[str, Any]]:
        """Type into an option and return what is suggested."""
        told = await self.control(
            "complete", member=member, channel="general", command=command, focused=focused, options={focused: typed} | more
        )
        found: list[dict[str, Any]] = told["choices"]
        return found

    async def press(self, button: str, message: int, member: str = "ada") -> Any:
        """Press a button by what stands on it, as soon as it is there."""
        await self.until(lambda: button in self.buttons(message))
        return await self.control("press", member=member, message=str(message), custom_id=self.buttons(message)[button])

    def messages(self, channel: str | int = "general") -> list[Message]:
        """What stands in a channel, the oldest first; what only one person sees is left out."""
        store = self.sandbox.world.store
        key = next(one.id for one in store.channels.values() if channel in (one.id, one.name))
        found = [one for one in store.messages.values() if one.channel == key and one.only_for is None]
        return sorted(found, key=lambda one: one.id)

    def whispers(self, member: str = "ada") -> list[str]:
        """What only one person sees, the oldest first."""
        store = self.sandbox.world.store
        user = next(one.id for one in store.users.values() if one.name == member)
        found = [one for one in store.messages.values() if one.only_for == user and one.flags & EPHEMERAL]
        return [one.content for one in sorted(found, key=lambda one: one.id)]

    def whispered_buttons(self, member: str = "ada") -> int:
        """The newest message that only one person sees and that has buttons; 0 where there is none."""
        user = self.id(member)
        found = [one.id for one in self.sandbox.world.store.messages.values() if one.only_for == user and one.components]
        return max(found, default=0)

    def buttons(self, message: int) -> dict[str, str]:
        """The buttons of a message: what stands on each, and its id or address."""
        rows = self.sandbox.world.store.messages[message].components
        return {one["label"]: one.get("custom_id") or one["url"] for row in rows for one in row["components"]}

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until something holds."""

        async def look() -> Any:
            return holds()

        return await until_async(look)

    async def reads(self, *words: str, channel: str | int = "general") -> list[Message]:
        """Wait until the last message of a channel says all of that."""

        def look() -> Any:
            found = self.messages(channel)
            return found if found and all(word in found[-1].content for word in words) else None

        found: list[Message] = await self.until(look)
        return found

    async def person(self, member: str = "ada") -> Person:
        """Who a member is on the platform."""
        found = await asyncio.to_thread(links.user_of, self.id(member))
        assert found is not None
        return found

    def id(self, member: str) -> int:
        return next(one.id for one in self.sandbox.world.store.users.values() if one.name == member)

    async def whispered(self, *words: str, member: str = "ada") -> str:
        """Wait until somebody is told something that nobody else sees."""

        def look() -> str | None:
            said = self.whispers(member)
            return said[-1] if said and all(word in said[-1] for word in words) else None

        found: str = await self.until(look)
        return found
