"""The people in Discord: who asks, what they asked, and every reply that is being shown to them."""

import asyncio
import contextlib
import io
from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID, uuid5

import discord
import structlog
from redis.asyncio import Redis

from app.core import redis
from app.services import answers, asking, chats, limits, links, overview, sessions, turns
from app.services.accounts import Person
from app.services.answers import Answer
from app.services.rights import Right, may
from app.services.turns import Accepted
from app.stream.hub import Hub
from app.wire import names
from app.wire.errors import BadInput, Busy, MeatLizardError, NotAllowed, NotFound, Unavailable
from app.wire.states import Door
from bots.server.commands.errors import explained, refuse
from bots.server.commands.face import ASKING, clip, heading
from bots.server.commands.pace import Pace
from bots.server.commands.showing import AWAY, Showing

log = structlog.get_logger(__name__)

Interaction = discord.Interaction[Any]
Said = TypeVar("Said")
ACT: Final = UUID("5bd1f2f6-5a52-4e0c-9a43-0b6f1d8f3a10")
"""Under it an interaction's or a message's id in Discord becomes the client id of its turn: told twice, it is one turn."""
MAY_NOT: Final = (
    "Your role here, {role}, may not do this. Where your account on the page may, join the two with /link; else ask an administrator."
)
ELSEWHERE: Final = "That prompt was written on the page, and is not for Discord to carry. Have it answered again there."
LEFT: Final = "Whoever said this is in this server no more."
LOST: Final = "The Server-Bot was restarted before this prompt was kept. Ask again."


class People:
    """What all commands and buttons share."""

    def __init__(self, client: discord.Client, store: Redis) -> None:
        self._client: Final = client
        self._redis: Final = store
        self._subscriber: Final = redis.pubsub_client()
        self._hub: Final = Hub(self._subscriber)
        self._stack: Final = contextlib.AsyncExitStack()
        self._pace: Final = Pace()
        self._showing: Final[dict[str, asyncio.Task[None]]] = {}

    async def start(self) -> None:
        """Listen to the turns' events."""
        await self._stack.enter_async_context(self._hub.running())

    async def close(self) -> None:
        """Let go of everything; what is not whole yet is shown on after the next start."""
        for task in self._showing.values():
            task.cancel()
        await asyncio.gather(*self._showing.values(), return_exceptions=True)
        await self._stack.aclose()
        await self._subscriber.aclose()

    async def asker(self, interaction: Interaction, right: Right = Right.CHAT) -> Person:
        """Return who uses a command or a button; raise NotAllowed where they may not."""
        return await self.known(interaction.user, right)

    async def known(self, user: discord.abc.User, right: Right = Right.CHAT) -> Person:
        """Return who somebody in Discord is here; raise NotAllowed where they may not do that."""
        # Of one who is known by a message of the history alone, Discord does not say which roles they hold.
        roles = [role.id for role in user.roles] if isinstance(user, discord.Member) else None
        person = await asyncio.to_thread(links.enter, user.id, user.name, roles)
        if not may(person.role, right):
            raise NotAllowed(MAY_NOT.format(role=person.role))
        return person

    # Telling.

    async def whisper(self, interaction: Interaction, say: Callable[[Person], str], right: Right = Right.CHAT) -> None:
        """Tell whoever asks, and nobody else, what a function says that may take a while; errors are the tree's to tell."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        person = await self.asker(interaction, right)
        text = await asyncio.to_thread(say, person)
        await interaction.followup.send(clip(text), ephemeral=True, suppress_embeds=True)

    async def hand(
        self, interaction: Interaction, make: Callable[[Person], tuple[str, str, bytes]], right: Right = Right.CHAT
    ) -> None:
        """Give whoever asks, and nobody else, words and a file (its name, its bytes) that may take a while to make."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        person = await self.asker(interaction, right)
        words, name, content = await asyncio.to_thread(make, person)
        file = discord.File(io.BytesIO(content), name)
        await interaction.followup.send(clip(words), file=file, ephemeral=True, suppress_embeds=True)

    async def whisper_anyone(
        self, interaction: Interaction, say: Callable[[], Said], face: Callable[[Said], tuple[str, discord.ui.View]] | None = None
    ) -> None:
        """Do the same for somebody who need not be known here yet; `face` turns what it says into words with buttons."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        said = await asyncio.to_thread(say)
        text, view = face(said) if face is not None else (str(said), discord.utils.MISSING)
        await interaction.followup.send(clip(text), view=view, ephemeral=True, suppress_embeds=True)

    # Asking.

    async def ask(self, interaction: Interaction, prompt: str, model: str | None = None) -> None:
        """Answer a prompt below the command that brought it, by a node with that model where one is named."""
        shown = await interaction.response.send_message(heading(prompt) + ASKING, suppress_embeds=True)
        try:
            person = await self.asker(interaction)
            accepted, answer = await self._keep(interaction, shown.message_id or 0, person, prompt, model)
        except (MeatLizardError, *redis.ERRORS) as error:
            await self._take_back(interaction, error, prompt)
            return
        await self._begun(accepted, answer, interaction)

    async def _keep(
        self, interaction: Interaction, message: int, person: Person, prompt: str, model: str | None
    ) -> tuple[Accepted, Answer]:
        channel, user = interaction.channel_id or 0, interaction.user.id
        session = await asyncio.to_thread(chats.chosen, channel, user, person.id)
        if session is None:
            await asyncio.to_thread(limits.begin_session, person)
            session = (await asyncio.to_thread(sessions.create, person.id)).id
        identity = str(uuid5(ACT, str(interaction.id)))
        return await self._submit(identity, channel, message, person, session, prompt, model=model)

    async def say(self, message: discord.Message, shown: int, words: str) -> asyncio.Task[None] | None:
        """Answer what somebody said in their thread, in the message `shown`; the task ends when the reply is whole."""
        identity, channel = str(uuid5(ACT, str(message.id))), message.channel.id
        person = await self.known(await _member(message))
        session = await asyncio.to_thread(chats.renew, channel, message.author.id, person.id)
        try:
            accepted, answer = await self._submit(identity, channel, shown, person, session, words, quoted=False)
        except MeatLizardError as error:
            if not isinstance(error, Unavailable):  # Else it may have been kept all the same.
                await asyncio.to_thread(answers.over, identity)
            raise
        await self._begun(accepted, answer, None)
        return self._showing.get(accepted.turn)

    async def _submit(
        self,
        identity: str,
        channel: int,
        message: int,
        person: Person,
        session: str,
        prompt: str,
        *,
        quoted: bool = True,
        model: str | None = None,
    ) -> tuple[Accepted, Answer]:
        """Keep a prompt as the next turn of a session, and where its reply is shown."""
        tip = await asyncio.to_thread(_tip, session, person.id)
        await asyncio.to_thread(answers.begin, identity, channel, message, quoted=quoted)
        accepted = await asyncio.to_thread(
            asking.submit, person, session, identity, prompt, tip, Door.DISCORD, model=model
        )
        return accepted, await self._kept(identity, channel, message, session, accepted, quoted=quoted)

    async def retry(self, interaction: Interaction, turn: str | None = None) -> None:
        """Answer the prompt of a turn once more, in a new message; of one's last one where none is named."""
        identity = str(uuid5(ACT, str(interaction.id)))
        shown = await interaction.response.send_message(ASKING, suppress_embeds=True)
        channel, message = interaction.channel_id or 0, shown.message_id or 0
        try:
            person = await self.asker(interaction)
            asked = turn if turn is not None else await asyncio.to_thread(_last, channel, interaction.user.id, person.id)
            session = await asyncio.to_thread(turns.session_of, asked, person.id)
            if await asyncio.to_thread(overview.asked_by, asked) != Door.DISCORD:
                raise BadInput(ELSEWHERE)
            await asyncio.to_thread(answers.begin, identity, channel, message)
            accepted = await asyncio.to_thread(asking.retry, person, session, identity, asked, Door.DISCORD)
            answer = await self._kept(identity, channel, message, session, accepted)
        except (MeatLizardError, *redis.ERRORS) as error:
            await asyncio.to_thread(answers.over, identity)
            await self._take_back(interaction, error)
            return
        await self._begun(accepted, answer, interaction)

    async def _kept(
        self, identity: str, channel: int, message: int, session: str, accepted: Accepted, *, quoted: bool = True
    ) -> Answer:
        await asyncio.to_thread(answers.submitted, identity, accepted.turn)
        return Answer(identity, channel, [message], accepted.turn, session, accepted.text if quoted else "")

    async def _begun(self, accepted: Accepted, answer: Answer, interaction: Interaction | None) -> None:
        """Show a turn from here on, and let the session's open pages show it too."""
        self.show(answer, interaction)
        with contextlib.suppress(*redis.ERRORS):
            await self._redis.publish(names.session_channel(answer.session), accepted.turn)

    async def _take_back(self, interaction: Interaction, error: Exception, prompt: str = "") -> None:
        """Say to whoever asked, and to nobody else, why it was not taken; with their words, which Discord keeps nowhere."""
        await asyncio.to_thread(answers.over, str(uuid5(ACT, str(interaction.id))))
        await interaction.delete_original_response()
        await refuse(interaction, explained(error), prompt)

    async def stop(self, interaction: Interaction, turn: str) -> None:
        """End a turn; its reply says so where it is shown."""
        await interaction.response.defer()
        try:
            person = await self.asker(interaction)
            await asyncio.to_thread(turns.stop, turn, person.id)
        except (MeatLizardError, *redis.ERRORS) as error:
            await refuse(interaction, explained(error))

    # Showing.

    def show(self, answer: Answer, interaction: Interaction | None = None) -> None:
        """Show a reply until it is whole, unless that is being done."""
        turn = answer.turn
        if turn is None or turn in self._showing:
            return
        showing = Showing(self._client, self._hub, self._redis, self._pace, answer, interaction)
        task = self._showing[turn] = asyncio.create_task(self._survive(turn, showing))
        task.add_done_callback(lambda _: self._showing.pop(turn, None))

    async def _survive(self, turn: str, showing: Showing) -> None:
        try:
            await showing.run()
        except Exception:
            # One reply that cannot be shown must not end the others; the next round tries it again.
            log.exception("answer.broken", turn=turn)

    async def look_after(self) -> None:
        """Take up what nobody shows: after a restart, or where another Server-Bot died over it."""
        for answer in await asyncio.to_thread(answers.unfinished):
            if answer.turn is not None:
                self.show(answer)
            elif answer.lost:
                await self._lost(answer)

    async def _lost(self, answer: Answer) -> None:
        channel = self._client.get_partial_messageable(answer.channel)
        try:
            await channel.get_partial_message(answer.messages[0]).edit(content=LOST)
        except discord.DiscordServerError:
            return  # The next round tries it again.
        except discord.HTTPException as error:
            # It is gone, or cannot be changed any more; and must not stand in the way of all that come after it.
            log.info("answer.unsaid", channel=answer.channel, error=str(error))
        await asyncio.to_thread(answers.over, answer.id)


async def _member(message: discord.Message) -> discord.abc.User:
    """Return who said something, with their roles: a message of the history comes without."""
    if isinstance(message.author, discord.Member) or message.guild is None:
        return message.author
    try:
        return await message.guild.fetch_member(message.author.id)
    except discord.NotFound as error:
        raise NotAllowed(LEFT) from error


def _last(channel: int, discord_id: int, user: str) -> str:
    session = chats.chosen(channel, discord_id, user)
    if turn := overview.latest(user, session, Door.DISCORD):
        return turn
    raise NotFound("There is no prompt of yours to answer again. Begin with /ask.")


def _tip(session: str, user: str) -> str | None:
    if sessions.unfinished(session, user):
        raise Busy("The last reply of this conversation is still being written. Wait for its end, or press Stop.")
    return sessions.tip(session, user)


__all__ = ("AWAY", "Interaction", "People")
