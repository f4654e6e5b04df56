"""What the sandbox remembers: the state behind every answer, as plain records that a JSON file can hold."""

from dataclasses import dataclass, field
from typing import Any, Final

TEXT: Final = 0
DM: Final = 1
VOICE: Final = 2
CATEGORY: Final = 4
ANNOUNCEMENT: Final = 5
PUBLIC_THREAD: Final = 11
PRIVATE_THREAD: Final = 12
THREADS: Final = frozenset({10, PUBLIC_THREAD, PRIVATE_THREAD})

EPHEMERAL: Final = 1 << 6
LOADING: Final = 1 << 7


@dataclass(slots=True)
class User:
    """A person or a bot."""

    id: int
    name: str
    bot: bool = False
    display: str | None = None


@dataclass(slots=True)
class Application:
    """What the developer portal would show; its bot user has the same id."""

    id: int
    name: str
    token: str
    secret: str
    owner: int
    intents: int
    """The privileged intents that are switched on in the portal, as gateway bits."""
    redirects: list[str] = field(default_factory=list)
    created: dict[str, list[float]] = field(default_factory=dict)
    """When commands were created, by guild ("" is global): 200 a day are allowed."""
    identified: list[float] = field(default_factory=list)
    """When it identified at the gateway in the last 24 hours."""


@dataclass(slots=True)
class Role:
    """A role; the one with the guild's id is @everyone."""

    id: int
    guild: int
    name: str
    permissions: int
    position: int
    colour: int = 0
    hoist: bool = False
    mentionable: bool = False
    bot: int | None = None
    """The bot this role was made for; such a role cannot be given or deleted by hand."""


@dataclass(slots=True)
class Member:
    """A user in a guild."""

    guild: int
    user: int
    joined: float
    roles: list[int] = field(default_factory=list)
    nick: str | None = None


@dataclass(slots=True)
class Guild:
    """A server, as people call it."""

    id: int
    name: str
    owner: int


@dataclass(slots=True)
class Overwrite:
    """What a channel allows and denies to a role (type 0) or a member (type 1)."""

    id: int
    type: int
    allow: int = 0
    deny: int = 0


@dataclass(slots=True)
class Thread:
    """What a thread has beyond a channel."""

    owner: int
    members: dict[int, float] = field(default_factory=dict)
    archived: bool = False
    locked: bool = False
    invitable: bool = True
    auto_archive: int = 1440
    changed: float = 0.0


@dataclass(slots=True)
class Channel:
    """A channel, category, thread or direct conversation."""

    id: int
    type: int
    guild: int | None = None
    name: str = ""
    parent: int | None = None
    position: int = 0
    topic: str | None = None
    slowmode: int = 0
    nsfw: bool = False
    overwrites: list[Overwrite] = field(default_factory=list)
    thread: Thread | None = None
    recipients: list[int] = field(default_factory=list)
    last_message: int | None = None


@dataclass(slots=True)
class Attachment:
    """A file beside a message; its bytes lie in the store's files."""

    id: int
    channel: int
    filename: str
    size: int
    content_type: str
    description: str | None = None


@dataclass(slots=True)
class Message:
    """A message, kept as its author posted it."""

    id: int
    channel: int
    author: int
    content: str = ""
    type: int = 0
    flags: int = 0
    tts: bool = False
    nonce: str | int | None = None
    enforced: bool = False
    """Whether the nonce was to be enforced."""
    edited: float | None = None
    attachments: list[Attachment] = field(default_factory=list)
    embeds: list[dict[str, Any]] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    mentions: list[int] = field(default_factory=list)
    mention_roles: list[int] = field(default_factory=list)
    mention_everyone: bool = False
    reference: dict[str, Any] | None = None
    application: int | None = None
    interaction: dict[str, Any] | None = None
    only_for: int | None = None
    """The one person an ephemeral message is shown to."""


@dataclass(slots=True)
class Command:
    """An application command, global when it has no guild."""

    id: int
    application: int
    guild: int | None
    version: int
    body: dict[str, Any]


@dataclass(slots=True)
class Grant:
    """What a member allowed an application by OAuth2."""

    access: str
    refresh: str
    application: int
    user: int
    scopes: list[str]
    expires: float


@dataclass(slots=True)
class State:
    """Everything that outlives a restart."""

    control_token: str = ""
    signing_key: str = ""
    last_id: int = 0
    users: dict[int, User] = field(default_factory=dict)
    applications: dict[int, Application] = field(default_factory=dict)
    guilds: dict[int, Guild] = field(default_factory=dict)
    roles: dict[int, Role] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    channels: dict[int, Channel] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    commands: dict[int, Command] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)
