"""The state in memory, with what makes it quick to read and a JSON file that outlives a restart."""

import bisect
import os
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from app.wire.errors import BadInput
from bots.sandbox.records import Application, Channel, Command, Grant, Guild, Member, Message, Role, State, User

_STATE: Final = TypeAdapter(State)


class Store:
    """Records by id, members by guild and user, messages by channel in the order of their ids."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.state = State()
        self.changes = 0
        """Grows with every change: the page waits on it, the snapshot is taken by it."""
        if path is not None and path.exists():
            try:
                self.state = _STATE.validate_json(path.read_bytes())
            except ValidationError:
                raise BadInput(f"{path} is not a sandbox's state; move it away or name another --state.") from None
        self._files: dict[int, bytes] = {}
        self._nonces: dict[tuple[int, str], int] = {}
        self._hidden: dict[int, list[int]] = defaultdict(list)
        self._members: dict[tuple[int, int], Member] = {(one.guild, one.user): one for one in self.state.members}
        self._logs: dict[int, list[int]] = defaultdict(list)
        for message in sorted(self.state.messages.values(), key=lambda one: one.id):
            self._index(message)

    @property
    def users(self) -> dict[int, User]:
        """People and bots."""
        return self.state.users

    @property
    def applications(self) -> dict[int, Application]:
        """By id."""
        return self.state.applications

    @property
    def guilds(self) -> dict[int, Guild]:
        """By id."""
        return self.state.guilds

    @property
    def roles(self) -> dict[int, Role]:
        """By id."""
        return self.state.roles

    @property
    def channels(self) -> dict[int, Channel]:
        """By id, threads and direct conversations among them."""
        return self.state.channels

    @property
    def messages(self) -> dict[int, Message]:
        """By id, ephemeral ones among them."""
        return self.state.messages

    @property
    def commands(self) -> dict[int, Command]:
        """By id."""
        return self.state.commands

    @property
    def grants(self) -> list[Grant]:
        """What members allowed by OAuth2."""
        return self.state.grants

    def member(self, guild: int, user: int) -> Member | None:
        """A user's membership."""
        return self._members.get((guild, user))

    def members(self, guild: int) -> list[Member]:
        """Everyone in a guild, by id."""
        return sorted((one for one in self.state.members if one.guild == guild), key=lambda one: one.user)

    def add_member(self, member: Member) -> None:
        """Let somebody in."""
        self.state.members.append(member)
        self._members[member.guild, member.user] = member

    def remove_member(self, member: Member) -> None:
        """Show somebody out."""
        self.state.members.remove(member)
        del self._members[member.guild, member.user]

    def guild_roles(self, guild: int) -> list[Role]:
        """From @everyone up."""
        return sorted(
            (one for one in self.roles.values() if one.guild == guild), key=lambda one: (one.position, one.id)
        )

    def guild_channels(self, guild: int) -> list[Channel]:
        """Channels and categories, without threads."""
        found = [one for one in self.channels.values() if one.guild == guild and one.thread is None]
        return sorted(found, key=lambda one: (one.position, one.id))

    def guild_threads(self, guild: int) -> list[Channel]:
        """Threads that are not archived."""
        found = (one for one in self.channels.values() if one.guild == guild and one.thread)
        return [one for one in found if one.thread and not one.thread.archived]

    def add_message(self, message: Message) -> None:
        """Keep a message; ephemeral ones stand in no channel's history."""
        self.messages[message.id] = message
        self._index(message)
        if message.only_for is None:
            self.channels[message.channel].last_message = message.id

    def _index(self, message: Message) -> None:
        logs = self._logs if message.only_for is None else self._hidden
        logs[message.channel].append(message.id)
        if message.enforced:
            self._nonces[message.author, str(message.nonce)] = message.id

    def remove_message(self, message: Message) -> None:
        """Forget a message and its files; that its nonce was used is remembered."""
        self.messages.pop(message.id, None)
        for log in (self._logs[message.channel], self._hidden[message.channel]):
            if message.id in log:
                log.remove(message.id)
        for one in message.attachments:
            self._drop_file(one.id)

    def by_nonce(self, author: int, nonce: str) -> int | None:
        """The message an author's enforced nonce made, which may be deleted meanwhile."""
        return self._nonces.get((author, nonce))

    def remove_channel(self, channel: Channel) -> None:
        """Forget a channel with all that was said in it."""
        for key in [*self._logs.pop(channel.id, []), *self._hidden.pop(channel.id, [])]:
            for one in self.messages.pop(key).attachments:
                self._drop_file(one.id)
        self.channels.pop(channel.id, None)

    def page(
        self, channel: int, limit: int, before: int | None, after: int | None, around: int | None
    ) -> list[Message]:
        """A piece of a channel's history, newest first (docs: resources/message, Get Channel Messages)."""
        log = self._logs[channel]
        if around is not None:
            middle = bisect.bisect_left(log, around)
            # The message itself stands in the middle; half of the others before it, half after it.
            ids = log[max(0, middle - limit // 2) :][:limit]
        elif after is not None:
            ids = log[bisect.bisect_right(log, after) :][:limit]
        elif before is not None:
            ids = log[: bisect.bisect_left(log, before)][-limit:]
        else:
            ids = log[-limit:]
        return [self.messages[one] for one in reversed(ids)]

    def hidden(self, channel: int, user: int) -> list[Message]:
        """What is in a channel for one person's eyes alone."""
        found = (self.messages[one] for one in self._hidden.get(channel, ()))
        return [one for one in found if one.only_for == user]

    def keep_file(self, attachment: int, content: bytes) -> None:
        """Keep an attachment's bytes: beside the state file, or in memory."""
        if self.path is None:
            self._files[attachment] = content
            return
        folder = self._folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / str(attachment)).write_bytes(content)

    def file(self, attachment: int) -> bytes | None:
        """An attachment's bytes."""
        if self.path is None:
            return self._files.get(attachment)
        place = self._folder() / str(attachment)
        return place.read_bytes() if place.exists() else None

    def _drop_file(self, attachment: int) -> None:
        self._files.pop(attachment, None)
        if self.path is not None:
            (self._folder() / str(attachment)).unlink(missing_ok=True)

    def _folder(self) -> Path:
        assert self.path is not None
        return self.path.with_name(self.path.name + ".attachments")

    def changed(self) -> None:
        """Say that something is different now."""
        self.changes += 1

    def save(self) -> None:
        """Write the snapshot, whole or not at all; its owner alone may read it, for it holds the tokens."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_STATE.dump_json(self.state))
        part.replace(self.path)

    def search(self, text: str) -> list[dict[str, Any]]:
        """Where a string stands in anything that is kept: records and attachments' bytes."""
        hits: list[dict[str, Any]] = []
        for kind in ("users", "applications", "guilds", "roles", "channels", "messages", "commands"):
            for key, record in getattr(self.state, kind).items():
                if any(text in one for one in _strings(asdict(record))):
                    hits.append({"kind": kind.removesuffix("s"), "id": str(key)})
        for message in self.messages.values():
            for one in message.attachments:
                if text.encode() in (self.file(one.id) or b""):
                    hits.append({"kind": "attachment", "id": str(one.id), "message": str(message.id)})
        return hits


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, one in value.items() for text in (*_strings(key), *_strings(one))]
    if isinstance(value, list):
        return [text for one in value for text in _strings(one)]
    return []
