"""What each bot is given in a guild when it is invited: the permissions it uses, and none beside.

The numbers are Discord's (docs: topics/permissions); they stand here as numbers so that whoever only needs the sum, such
as `meatlizard up`, need not load discord.py.
"""

from typing import Final

BITS: Final = {
    "manage_channels": 1 << 4,
    "view_channel": 1 << 10,
    "send_messages": 1 << 11,
    "attach_files": 1 << 15,
    "read_message_history": 1 << 16,
    "manage_roles": 1 << 28,
    "create_private_threads": 1 << 36,
    "send_messages_in_threads": 1 << 38,
}
"""The permissions that are spoken of here, under the names that discord.py has for them."""

SERVER_BOT: Final = {
    "manage_channels": "makes and removes the private channels and their categories",
    "manage_roles": "Discord asks for it of whoever says who may enter a channel",
    "view_channel": "sees the channels it makes",
    "send_messages": "posts sealed messages",
    "attach_files": "a long one goes as an attachment",
    "read_message_history": "reads what was said while it was away",
    "create_private_threads": "/chat opens one for whoever asks",
    "send_messages_in_threads": "answers in it",
}
"""The Server-Bot's, each with what for."""

CLIENT_BOT: Final = {
    "view_channel": "sees the channels that the Server-Bot opens to it",
    "send_messages": "posts sealed replies",
    "attach_files": "a long one goes as an attachment",
    "read_message_history": "reads what was said while it was away",
}
"""A Client-Bot's, each with what for."""


def integer(names: dict[str, str]) -> int:
    """Return the number that stands for these permissions in an invite link."""
    return sum(BITS[name] for name in names)
