"""Who may do what: the rights, and the one table that says which role has which."""

from enum import StrEnum
from typing import Final


class Rank(StrEnum):
    """What an account is; a guest is somebody at the machine itself, without an account."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    GUEST = "guest"


class Right(StrEnum):
    """One thing that somebody may do; routes, commands and pages name the one they need."""

    CHAT = "chat"
    """Have sessions: prompt, stop, rename, delete one's own."""
    OWN_ACCOUNT = "own account"
    """See one's account: name, logins, what is left of limits; end one's logins, and the account itself."""
    OWN_DATA = "own data"
    """Take out all of one's own, and delete it."""
    MANAGE_TOKENS = "manage tokens"
    """Make and revoke one's own tokens for programs."""
    LINK = "link"
    """Link one's account with Discord or another provider, and undo it."""
    SEE_NODES = "see nodes"
    """See which nodes answer, and how busy they are."""
    DRAIN_NODES = "drain nodes"
    """Take nodes out of service and back, invite new ones, remove old ones."""
    INVITE = "invite"
    """Invite people."""
    MANAGE_PEOPLE = "manage people"
    """See the accounts, give them roles, shut and open them, end their logins and tokens."""
    SET_LIMITS = "set limits"
    """Change how much one may use."""
    SEE_METRICS = "see metrics"
    """See figures and plots of the whole platform."""
    SEE_TASKS = "see tasks"
    """See the tasks of the queue: Flower, and its page."""
    SEE_AUDIT = "see audit"
    """Read the trail of who did what."""
    EXPORT_AUDIT = "export audit"
    """Take the trail out of the platform as a file."""
    BACKUP = "backup"
    """Make backups, see and verify them."""
    RESTORE = "restore"
    """Bring a backup back in place of what is there."""
    MANAGE_KEYS = "manage keys"
    """Rotate the master keys."""
    READ_OTHERS = "read others"
    """Read another's conversations, where the law demands it: on the command line only, and the trail shows it."""


_GUEST: Final = frozenset({Right.CHAT, Right.OWN_ACCOUNT, Right.OWN_DATA, Right.SEE_NODES})
_MEMBER: Final = _GUEST | {Right.MANAGE_TOKENS, Right.LINK}
_ADMIN: Final = _MEMBER | {
    *(Right.DRAIN_NODES, Right.INVITE, Right.MANAGE_PEOPLE, Right.SET_LIMITS, Right.SEE_METRICS),
    *(Right.SEE_TASKS, Right.SEE_AUDIT, Right.EXPORT_AUDIT, Right.BACKUP),
}
RIGHTS: Final[dict[Rank, frozenset[Right]]] = {
    Rank.OWNER: frozenset(Right),
    Rank.ADMIN: _ADMIN,
    Rank.MEMBER: _MEMBER,
    Rank.GUEST: _GUEST,
}
"""Each role has all that the one below it has, and more."""

SCOPES: Final[dict[str, frozenset[Right]]] = {
    "chat": frozenset({Right.CHAT, Right.SEE_NODES}),
    "read": frozenset({Right.SEE_NODES, Right.SEE_METRICS, Right.SEE_TASKS, Right.SEE_AUDIT}),
    "admin": frozenset(Right) - {Right.LINK},
}
"""What a token for programs opens at most; never more than its owner's role has. None changes how its owner signs in: who finds
one would have a login that outlives it."""


def opened(scopes: frozenset[str], right: Right) -> bool:
    """Say whether a token with these scopes opens a right."""
    return any(right in SCOPES[scope] for scope in scopes if scope in SCOPES)


def may(role: str, right: Right) -> bool:
    """Say whether somebody of that role has a right; an unknown role has none."""
    return role in RIGHTS and right in RIGHTS[Rank(role)]
