"""The messages in Discord that show one reply: edited, added to and cut short until they look as they should."""

from typing import Any, Final

import aiohttp
import discord
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from bots.server.commands.face import Face
from bots.server.outbox import nonce

log = structlog.get_logger(__name__)

PASSING: Final = (OSError, aiohttp.ClientError, discord.DiscordServerError, discord.RateLimited)
"""What is tried again: Discord cannot be reached, or cannot do it right now."""
TOKEN_OVER: Final = frozenset({10015, 50027})
"""Discord's codes for an interaction whose 15 minutes are over: unknown webhook, invalid webhook token."""


class Gone(Exception):
    """The message or its channel was removed, or taken out of our sight: there is nothing to show the reply in."""


class Sheet:
    """The messages of one reply, the first one there already."""

    def __init__(
        self, client: discord.Client, channel: int, messages: list[int], mark: str, interaction: discord.Interaction[Any] | None
    ) -> None:
        self.messages: Final = messages
        self._shown: Final[list[Face | None]] = [None] * len(messages)
        self._channel: Final[Any] = client.get_partial_messageable(channel)
        self._mark: Final = mark
        self._interaction = interaction
        self._dropped = 0

    def next(self, wanted: list[Face], *, final: bool) -> int | None:
        """Return the first message that does not look as it should; None where all do."""
        for index, face in enumerate(wanted):
            if index >= len(self.messages) or self._shown[index] != face:
                return index
        # Until the end a longer text may come again: an attempt that takes over begins where the last one was sure.
        return len(wanted) if final and len(self.messages) > len(wanted) else None

    async def put(self, index: int, face: Face | None, view: discord.ui.View | None) -> None:
        """Make a message look so, adding or removing it where need be; raise Gone where that cannot be."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(PASSING), wait=wait_random_exponential(multiplier=0.5, max=15), reraise=True
        ):
            with attempt:
                try:
                    await self._put(index, face, view)
                except discord.NotFound as error:
                    raise Gone from error
                except discord.Forbidden as error:
                    log.warning("answer.forbidden", channel=self._channel.id, error=str(error))
                    raise Gone from error

    async def _put(self, index: int, face: Face | None, view: discord.ui.View | None) -> None:
        if face is None:
            await self._channel.get_partial_message(self.messages[-1]).delete()
            self.messages.pop()
            self._shown.pop()
            self._dropped += 1
        elif index < len(self.messages):
            await self._edit(index, face, view)
            self._shown[index] = face
        else:
            self.messages.append(await self._add(index, face, view))
            self._shown.append(face)

    async def _edit(self, index: int, face: Face, view: discord.ui.View | None) -> None:
        """Edit by the interaction where there is one: that needs no sight of the channel, and no share of the bot's limit."""
        if self._interaction is not None and index == 0:
            try:
                await self._interaction.edit_original_response(
                    content=face.content, view=view, allowed_mentions=discord.AllowedMentions.none()
                )
                return
            except discord.HTTPException as error:
                if error.code not in TOKEN_OVER:
                    raise
                self._interaction = None
        await self._channel.get_partial_message(self.messages[index]).edit(
            content=face.content, view=view, allowed_mentions=discord.AllowedMentions.none()
        )

    async def _add(self, index: int, face: Face, view: discord.ui.View | None) -> int:
        before = discord.MessageReference(
            message_id=self.messages[-1], channel_id=self._channel.id, fail_if_not_exists=False
        )
        more: dict[str, Any] = {"view": view} if view is not None else {}
        more |= {"allowed_mentions": discord.AllowedMentions.none(), "suppress_embeds": True}
        try:
            # Twice the same is once: whoever goes on after a restart does not know whether this was posted.
            mark = nonce("answer", self._mark, index, self._dropped)
            sent = await self._channel.send(face.content, reference=before, mention_author=False, nonce=mark, **more)
        except discord.Forbidden:
            if self._interaction is None:
                raise
            sent = await self._interaction.followup.send(face.content, wait=True, **more)
        return int(sent.id)
