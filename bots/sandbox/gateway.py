"""Who hears what: events go to the sessions that asked for them and may view where they happened."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from bots.sandbox import permissions as may
from bots.sandbox.clock import Clock
from bots.sandbox.faults import Faults, Kind
from bots.sandbox.records import Channel, Message
from bots.sandbox.session import Session
from bots.sandbox.shapes import Shapes, stamp
from bots.sandbox.store import Store

# docs: events/gateway, List of Intents.
GUILDS: Final = 1 << 0
GUILD_MEMBERS: Final = 1 << 1
GUILD_PRESENCES: Final = 1 << 8
GUILD_MESSAGES: Final = 1 << 9
GUILD_TYPING: Final = 1 << 11
DIRECT_MESSAGES: Final = 1 << 12
DIRECT_TYPING: Final = 1 << 14
MESSAGE_CONTENT: Final = 1 << 15
PRIVILEGED: Final = GUILD_MEMBERS | GUILD_PRESENCES | MESSAGE_CONTENT
KNOWN: Final = ((1 << 17) - 1) | 1 << 20 | 1 << 21 | 1 << 24 | 1 << 25

Data = Mapping[str, Any]


class Gateway:
    """All sessions, and the rules by which an event reaches them."""

    def __init__(self, store: Store, shapes: Shapes, faults: Faults, clock: Clock, resume_seconds: float) -> None:
        self.sessions: dict[str, Session] = {}
        self._store = store
        self._shapes = shapes
        self._faults = faults
        self._clock = clock
        self._resume_seconds = resume_seconds
        self._later: list[asyncio.TimerHandle] = []

    def send(self, session: Session, event: str, data: Data, channel: int | None = None) -> None:
        """Dispatch one event to one session; here faults have their way, upstream of the sequence numbers."""
        fault = self._faults.event(session.bot, event, channel)
        match fault.order.kind if fault else None:
            case Kind.LOSE:
                return
            case Kind.REORDER:
                session.held.append((event, data))
                return
            case Kind.DELAY:
                assert fault is not None
                loop = asyncio.get_running_loop()
                self._later.append(loop.call_later(fault.order.seconds, session.dispatch, event, data))
                return
            case Kind.DUPLICATE:
                session.dispatch(event, data)
        session.dispatch(event, data)
        held, session.held = session.held, []
        for late in held:
            session.dispatch(*late)

    def to_guild(self, guild: int, intent: int, event: str, data: Data) -> None:
        """Tell every session in a guild that asked for such events."""
        for session in self._alive():
            if session.intents & intent and self._in(session, guild):
                self.send(session, event, data)

    def to_bot(self, bot: int, event: str, data: Data, guild: int | None = None) -> None:
        """Tell all sessions of one bot, whatever their intents."""
        for session in self._alive():
            if session.bot == bot and (session.has_guild(guild) if guild else session.shard[0] == 0):
                self.send(session, event, data)

    def to_viewers(self, channel: Channel, intent: int, event: str, shape: Callable[[Session], Data]) -> None:
        """Tell the sessions that may view a channel; each gets the event in its own shape."""
        for session in self._alive():
            if session.intents & intent and self._views(session, channel):
                self.send(session, event, shape(session), channel.id)

    def message(self, event: str, message: Message) -> None:
        """Tell that a message was posted or edited; its content goes to those who may have it."""
        channel = self._store.channels[message.channel]
        intent = GUILD_MESSAGES if channel.guild else DIRECT_MESSAGES

        def shape(session: Session) -> Data:
            allowed = bool(session.intents & MESSAGE_CONTENT) or reads(channel, message, session.bot)
            return self._shapes.message_event(message, content=allowed)

        if message.only_for is None:
            self.to_viewers(channel, intent, event, shape)

    def show(self, channel: Channel, *, new: bool = False) -> None:
        """Tell about a channel that is new or different: who sees it first, still sees it, or no longer does."""
        for session in self._alive():
            if not (session.intents & GUILDS and channel.guild and self._in(session, channel.guild)):
                continue
            kind = "THREAD" if channel.thread else "CHANNEL"
            visible = self._views(session, channel)
            if visible and channel.id in session.seen:
                self.send(session, f"{kind}_UPDATE", self._shapes.channel(channel), channel.id)
            elif visible:
                session.seen.add(channel.id)
                self.send(session, f"{kind}_CREATE", self._announced(channel, session, new=new), channel.id)
            elif channel.id in session.seen:
                self._withdraw(session, channel)

    def gone(self, channel: Channel) -> None:
        """Tell about a channel that is deleted."""
        for session in self._alive():
            if channel.id in session.seen:
                self._withdraw(session, channel)

    def reconsider(self, guild: int, channels: list[Channel] | None = None) -> None:
        """After roles, members or overwrites changed: tell each session of the channels it gained and lost."""
        if channels is None:
            channels = [*self._store.guild_channels(guild), *self._store.guild_threads(guild)]
        for session in self._alive():
            if not (session.intents & GUILDS and self._in(session, guild)):
                continue
            for channel in channels:
                if self._views(session, channel) != (channel.id in session.seen):
                    self._flip(session, channel)

    def welcome(self, session: Session, guild: int) -> None:
        """Send GUILD_CREATE: all a bot needs to know of a guild (docs: events/gateway-events, Guild Create)."""
        store, shapes = self._store, self._shapes
        members = store.members(guild)
        own = store.member(guild, session.bot)
        assert own is not None
        told = members if session.intents & GUILD_MEMBERS else [own]
        channels = [one for one in store.guild_channels(guild) if self._views(session, one)]
        threads = [one for one in store.guild_threads(guild) if self._views(session, one)]
        session.seen |= {one.id for one in (*channels, *threads)}
        data = shapes.guild(store.guilds[guild]) | {
            "joined_at": stamp(own.joined),
            "large": False,
            "unavailable": False,
            "member_count": len(members),
            "voice_states": [],
            "members": [shapes.member(one) for one in told],
            "channels": [shapes.channel(one) for one in channels],
            "threads": [self._announced(one, session, new=False) for one in threads],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }
        self.send(session, "GUILD_CREATE", data)

    def online(self) -> set[int]:
        """The bots that have a session."""
        return {session.bot for session in self._alive()}

    def close(self) -> None:
        """Forget what was delayed."""
        for handle in self._later:
            handle.cancel()
        self._later.clear()

    def _flip(self, session: Session, channel: Channel) -> None:
        if channel.id in session.seen:
            self._withdraw(session, channel)
            return
        session.seen.add(channel.id)
        kind = "THREAD_CREATE" if channel.thread else "CHANNEL_CREATE"
        self.send(session, kind, self._announced(channel, session, new=False), channel.id)

    def _withdraw(self, session: Session, channel: Channel) -> None:
        session.seen.discard(channel.id)
        if channel.thread is None:
            self.send(session, "CHANNEL_DELETE", self._shapes.channel(channel), channel.id)
            return
        data = {"guild_id": str(channel.guild), "parent_id": str(channel.parent), "type": channel.type}
        self.send(session, "THREAD_DELETE", {"id": str(channel.id)} | data, channel.id)

    def _announced(self, channel: Channel, session: Session, *, new: bool) -> dict[str, Any]:
        shape = self._shapes.channel(channel)
        if channel.thread and session.bot in channel.thread.members:
            shape["member"] = self._shapes.thread_member(channel, session.bot)
        return shape | ({"newly_created": True} if new and channel.thread else {})

    def _views(self, session: Session, channel: Channel) -> bool:
        if channel.guild is None:
            return session.shard[0] == 0 and session.bot in channel.recipients
        return session.has_guild(channel.guild) and may.may_view(self._store, channel, session.bot)

    def _in(self, session: Session, guild: int) -> bool:
        return session.has_guild(guild) and self._store.member(guild, session.bot) is not None

    def _alive(self) -> list[Session]:
        """Sessions that are connected or may still be resumed; the others are forgotten."""
        now = self._clock.time()
        for session in list(self.sessions.values()):
            if session.link is None and session.left is not None and session.left + self._resume_seconds < now:
                del self.sessions[session.id]
        return list(self.sessions.values())

    def resumable(self, session_id: str, bot: int) -> Session | None:
        """The session that a bot wants back, if it is still kept."""
        self._alive()
        session = self.sessions.get(session_id)
        return session if session is not None and session.bot == bot else None


def reads(channel: Channel, message: Message, bot: int) -> bool:
    """Whether a bot gets a message's content without the intent (docs: events/gateway, Message Content Intent)."""
    return channel.guild is None or message.author == bot or bot in message.mentions
