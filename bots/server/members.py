"""Whether people still are in the guild what they were when they signed in by it: no event tells, so it is asked."""

import asyncio
import time
from typing import Final

import discord

from app.services import links, membership

EACH_SECONDS: Final = 60.0
"""Between two looks at one person, where there are few of them."""
AT_ONCE: Final = 2
"""People looked at in one round of five seconds: a small share of the requests that the bot has for everything."""
NO_MEMBER: Final = 10007
"""Discord's code for somebody who is not in a guild; any other answer says nothing about them."""


class Members:
    """Looks at those who have something that hangs on the guild, who waited longest first."""

    def __init__(self) -> None:
        self._looked: dict[int, float] = {}

    async def look(self, guild: discord.Guild) -> None:
        """Look at the next few of them; raise what Discord raises where it cannot be asked."""
        watched, now = await asyncio.to_thread(membership.watched), time.monotonic()
        self._looked = {one: at for one in watched if (at := self._looked.get(one)) is not None}
        due = [one for one in watched if now - self._looked.get(one, -EACH_SECONDS) >= EACH_SECONDS]
        for one in sorted(due, key=lambda one: self._looked.get(one, -EACH_SECONDS))[:AT_ONCE]:
            self._looked[one] = now
            try:
                member = await guild.fetch_member(one)
            except discord.NotFound as error:
                if error.code != NO_MEMBER:
                    raise
                await asyncio.to_thread(membership.left, one)
            else:
                held = links.role_of(role.id for role in member.roles)
                await asyncio.to_thread(membership.looked, one, held)
