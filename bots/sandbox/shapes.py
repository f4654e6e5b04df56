"""Records as Discord's JSON objects (docs: resources/user, guild, channel, message, application)."""

from datetime import UTC, datetime
from typing import Any, Final

from bots.sandbox import permissions as may
from bots.sandbox.records import (
    CATEGORY,
    DM,
    TEXT,
    Application,
    Attachment,
    Channel,
    Command,
    Guild,
    Member,
    Message,
    Overwrite,
    Role,
    User,
)
from bots.sandbox.signing import Signer
from bots.sandbox.snowflake import seconds_of
from bots.sandbox.store import Store

INTENT_FLAGS: Final = {1 << 1: 1 << 15, 1 << 8: 1 << 13, 1 << 15: 1 << 19}
"""Privileged intents and the application flags that show them switched on (docs: resources/application, Flags)."""


def stamp(seconds: float | None) -> str | None:
    """A moment as ISO 8601, as Discord writes it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


class Shapes:
    """Needs the store for what an object refers to, and the signer for links to files."""

    def __init__(self, store: Store, signer: Signer) -> None:
        self._store = store
        self._signer = signer

    def user(self, user: User) -> dict[str, Any]:
        """A user, without anything private."""
        return {
            "id": str(user.id),
            "username": user.name,
            "discriminator": "0000" if user.bot else "0",
            "global_name": user.display,
            "avatar": None,
            "bot": user.bot,
            "public_flags": 0,
        }

    def application(self, application: Application) -> dict[str, Any]:
        """An application as its own bot sees it."""
        flags = sum(flag for intent, flag in INTENT_FLAGS.items() if application.intents & intent)
        return {
            "id": str(application.id),
            "name": application.name,
            "icon": None,
            "description": "",
            "bot_public": False,
            "bot_require_code_grant": False,
            "verify_key": f"{application.id:064x}",
            "flags": flags,
            "flags_new": str(flags),
            "team": None,
            "redirect_uris": application.redirects,
            "interactions_endpoint_url": None,
            "owner": self.user(self._store.users[application.owner]),
            "bot": self.user(self._store.users[application.id]),
        }

    def role(self, role: Role) -> dict[str, Any]:
        """A role."""
        shape: dict[str, Any] = {
            "id": str(role.id),
            "name": role.name,
            "color": role.colour,
            "colors": {"primary_color": role.colour, "secondary_color": None, "tertiary_color": None},
            "hoist": role.hoist,
            "icon": None,
            "unicode_emoji": None,
            "position": role.position,
            "permissions": str(role.permissions),
            "managed": role.bot is not None,
            "mentionable": role.mentionable,
            "flags": 0,
        }
        if role.bot is not None:
            shape["tags"] = {"bot_id": str(role.bot)}
        return shape

    def member(self, member: Member, *, user: bool = True) -> dict[str, Any]:
        """A member; within messages the user stands beside it."""
        shape: dict[str, Any] = {
            "nick": member.nick,
            "avatar": None,
            "banner": None,
            "roles": [str(role) for role in member.roles],
            "joined_at": stamp(member.joined),
            "premium_since": None,
            "deaf": False,
            "mute": False,
            "pending": False,
            "flags": 0,
            "communication_disabled_until": None,
        }
        if user:
            shape["user"] = self.user(self._store.users[member.user])
        return shape

    def guild(self, guild: Guild) -> dict[str, Any]:
        """A guild without what only GUILD_CREATE carries."""
        return {
            "id": str(guild.id),
            "name": guild.name,
            "icon": None,
            "splash": None,
            "discovery_splash": None,
            "owner_id": str(guild.owner),
            "afk_channel_id": None,
            "afk_timeout": 300,
            "verification_level": 0,
            "default_message_notifications": 1,
            "explicit_content_filter": 0,
            "roles": [self.role(role) for role in self._store.guild_roles(guild.id)],
            "emojis": [],
            "stickers": [],
            "features": [],
            "mfa_level": 0,
            "application_id": None,
            "system_channel_id": None,
            "system_channel_flags": 0,
            "rules_channel_id": None,
            "public_updates_channel_id": None,
            "safety_alerts_channel_id": None,
            "vanity_url_code": None,
            "description": None,
            "banner": None,
            "premium_tier": 0,
            "premium_subscription_count": 0,
            "premium_progress_bar_enabled": False,
            "preferred_locale": "en-US",
            "nsfw_level": 0,
        }

    def overwrite(self, overwrite: Overwrite) -> dict[str, Any]:
        """What a channel changes for a role or a member."""
        return {
            "id": str(overwrite.id),
            "type": overwrite.type,
            "allow": str(overwrite.allow),
            "deny": str(overwrite.deny),
        }

    def channel(self, channel: Channel) -> dict[str, Any]:
        """A channel of any kind."""
        shape: dict[str, Any] = {
            "id": str(channel.id),
            "type": channel.type,
            "flags": 0,
            "last_message_id": _id(channel.last_message),
        }
        if channel.type == DM:
            people = [self._store.users[one] for one in channel.recipients]
            return shape | {"recipients": [self.user(one) for one in people if not one.bot]}
        shape |= {"guild_id": str(channel.guild), "name": channel.name, "parent_id": _id(channel.parent)}
        if channel.thread is not None:
            return shape | self._thread(channel)
        shape |= {
            "position": channel.position,
            "nsfw": channel.nsfw,
            "permission_overwrites": [self.overwrite(one) for one in channel.overwrites],
        }
        if channel.type != CATEGORY:
            shape |= {"topic": channel.topic, "rate_limit_per_user": channel.slowmode}
        if channel.type not in (TEXT, CATEGORY):
            shape |= {"bitrate": 64000, "user_limit": 0, "rtc_region": None}
        return shape

    def _thread(self, channel: Channel) -> dict[str, Any]:
        thread = channel.thread
        assert thread is not None
        metadata = {
            "archived": thread.archived,
            "auto_archive_duration": thread.auto_archive,
            "archive_timestamp": stamp(thread.changed),
            "locked": thread.locked,
            "invitable": thread.invitable,
            "create_timestamp": stamp(seconds_of(channel.id)),
        }
        count = len([one for one in self._store.page(channel.id, 50, None, None, None) if one.type == 0])
        return {
            "owner_id": str(thread.owner),
            "message_count": count,
            "total_message_sent": count,
            "member_count": min(50, len(thread.members)),
            "rate_limit_per_user": channel.slowmode,
            "thread_metadata": metadata,
        }

    def thread_member(self, channel: Channel, user: int) -> dict[str, Any]:
        """Somebody's membership of a thread."""
        assert channel.thread is not None
        since = channel.thread.members.get(user, 0.0)
        return {"id": str(channel.id), "user_id": str(user), "join_timestamp": stamp(since), "flags": 0}

    def attachment(self, attachment: Attachment) -> dict[str, Any]:
        """A file with a link that works for a day."""
        link = self._signer.link(attachment)
        shape = {
            "id": str(attachment.id),
            "filename": attachment.filename,
            "size": attachment.size,
            "url": link,
            "proxy_url": link,
            "content_type": attachment.content_type,
        }
        return shape | ({"description": attachment.description} if attachment.description else {})

    def message(self, message: Message, *, content: bool = True) -> dict[str, Any]:
        """A message; without `content` what people put into it is empty (docs: events/gateway, Message Content Intent)."""
        mentioned = [self._store.users[one] for one in message.mentions if one in self._store.users]
        shape: dict[str, Any] = {
            "id": str(message.id),
            "channel_id": str(message.channel),
            "author": self.user(self._store.users[message.author]),
            "content": message.content if content else "",
            "timestamp": stamp(seconds_of(message.id)),
            "edited_timestamp": stamp(message.edited),
            "tts": message.tts,
            "mention_everyone": message.mention_everyone,
            "mentions": [self.user(one) for one in mentioned],
            "mention_roles": [str(one) for one in message.mention_roles],
            "mention_channels": [],
            "attachments": [self.attachment(one) for one in message.attachments] if content else [],
            "embeds": message.embeds if content else [],
            "components": message.components if content else [],
            "reactions": [],
            "pinned": False,
            "type": message.type,
            "flags": message.flags,
        }
        if message.nonce is not None:
            shape["nonce"] = message.nonce
        if message.reference is not None:
            shape |= self._reply(message.reference, content)
        if message.application is not None:
            shape |= {"application_id": str(message.application), "webhook_id": str(message.application)}
        if message.interaction is not None:
            shape["interaction_metadata"] = message.interaction
            if message.interaction["type"] == 2:
                shape["interaction"] = {key: message.interaction[key] for key in ("id", "type", "name", "user")}
        return shape

    def _reply(self, reference: dict[str, Any], content: bool) -> dict[str, Any]:
        target = self._store.messages.get(int(reference["message_id"]))
        referenced = None if target is None else self.message(target, content=content)
        if referenced is not None:
            # One level only (docs: resources/message, referenced_message).
            referenced.pop("referenced_message", None)
        return {"message_reference": reference, "referenced_message": referenced}

    def message_event(self, message: Message, *, content: bool) -> dict[str, Any]:
        """A message as the gateway brings it: with the guild and the members (docs: events/gateway-events, Message Create)."""
        shape = self.message(message, content=content)
        channel = self._store.channels[message.channel]
        shape["channel_type"] = channel.type
        if channel.guild is None:
            return shape
        shape["guild_id"] = str(channel.guild)
        if author := self._store.member(channel.guild, message.author):
            shape["member"] = self.member(author, user=False)
        for one in shape["mentions"]:
            if member := self._store.member(channel.guild, int(one["id"])):
                one["member"] = self.member(member, user=False)
        return shape

    def command(self, command: Command) -> dict[str, Any]:
        """An application command."""
        own = {
            "id": str(command.id),
            "application_id": str(command.application),
            "version": str(command.version),
            "dm_permission": command.guild is None,
            "default_member_permissions": None,
            "nsfw": False,
            "type": 1,
            "description": "",
        }
        return own | command.body | ({"guild_id": str(command.guild)} if command.guild else {})

    def permissions(self, channel: Channel, user: int) -> str:
        """What somebody may do in a channel."""
        return str(may.in_channel(self._store, channel, user))


def _id(value: int | None) -> str | None:
    return None if value is None else str(value)
