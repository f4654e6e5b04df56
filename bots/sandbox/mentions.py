"""Who a message mentions: what stands in its text, as far as allowed_mentions lets it through (docs: resources/message)."""

import re
from dataclasses import dataclass
from typing import Any, Final

from bots.sandbox.errors import invalid
from bots.sandbox.store import Store

_USER: Final = re.compile(r"<@!?(\d+)>")
_ROLE: Final = re.compile(r"<@&(\d+)>")
_EVERYONE: Final = re.compile(r"@(everyone|here)\b")
KINDS: Final = ("users", "roles", "everyone")


@dataclass(frozen=True, slots=True)
class Mentions:
    """What is left after the rules."""

    users: list[int]
    roles: list[int]
    everyone: bool


def find(
    store: Store,
    guild: int | None,
    text: str,
    allowed: dict[str, Any] | None,
    replied: int | None,
    *,
    may_everyone: bool,
) -> Mentions:
    """Apply the rules; without allowed_mentions everything in the text counts."""
    rules: dict[str, Any] = allowed if allowed is not None else {"parse": list(KINDS), "replied_user": True}
    parse = rules.get("parse") or []
    for kind in ("users", "roles"):
        if kind in parse and rules.get(kind):
            raise invalid(
                "allowed_mentions",
                "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
                f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.',
            )
        if len(rules.get(kind) or ()) > 100:
            raise invalid(f"allowed_mentions.{kind}", "BASE_TYPE_MAX_LENGTH", "Must be 100 or fewer in length.")
    users = _some(_USER.findall(text), "users", rules)
    if replied is not None and rules.get("replied_user") and replied not in users:
        users.append(replied)
    roles = [
        one
        for one in _some(_ROLE.findall(text), "roles", rules)
        if one in store.roles and store.roles[one].guild == guild
    ]
    if not may_everyone:
        roles = [one for one in roles if store.roles[one].mentionable]
    everyone = may_everyone and "everyone" in parse and bool(_EVERYONE.search(text))
    return Mentions([one for one in users if one in store.users], roles, everyone)


def _some(found: list[str], kind: str, rules: dict[str, Any]) -> list[int]:
    ids = list(dict.fromkeys(int(one) for one in found))
    if kind in (rules.get("parse") or []):
        return ids
    named = {int(one) for one in rules.get(kind) or ()}
    return [one for one in ids if one in named]
