"""How a turn looks in Discord: its prompt, its reply so far, a line that says how it stands, and its buttons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import discord
from discord.utils import escape_markdown

from app.core.config import settings
from app.wire.events import Event
from app.wire.states import EventKind
from bots.server.commands.split import LIMIT, split, units

QUOTED: Final = 200
"""Characters of a prompt that are shown above its reply: Discord shows who used `/ask`, not what they asked."""
ASKING: Final = "-# Asking…"
BLANK: Final = "\u200b"
"""Discord takes no message of blanks alone."""
STOP: Final = "stop"
RETRY: Final = "retry"
AGAIN: Final = "again"
OPEN: Final = "open"


@dataclass(frozen=True, slots=True)
class Face:
    """One message as it should look."""

    content: str
    buttons: tuple[str, ...] = ()


def heading(prompt: str) -> str:
    """Return a prompt as one quoted line, with nothing in it that Discord would format; nothing for none."""
    if not prompt:
        return ""
    line = " ".join(prompt.split())
    line = line if len(line) <= QUOTED else line[: QUOTED - 1].rstrip() + "…"
    return f"> {escape_markdown(line)}\n"


def page(session: str) -> str:
    """Return the address of a session's page."""
    base = settings().public_url or f"http://{settings().host}:{settings().port}"
    return f"{base.rstrip('/')}/s/{session}"


def faces(prompt: str, text: str, state: Event | None) -> list[Face]:
    """Return the messages that show a turn as it stands after an event; None stands for none yet."""
    said = text if text.strip() or state is None or state.kind is not EventKind.DONE else "*(The model said nothing.)*"
    contents = [part.content for part in split(heading(prompt) + said)]
    line = standing(state)
    if units(contents[-1]) + 1 + units(line) <= LIMIT:
        contents[-1] = f"{contents[-1].rstrip()}\n{line}"
    else:
        contents.append(clip(line))
    found = [Face(one if one.strip() else BLANK) for one in contents]
    found[-1] = Face(found[-1].content, buttons(state))
    return found


def clip(text: str) -> str:
    """Return a text that fits one message."""
    while units(text) > LIMIT:
        text = text[: LIMIT - 1 - (units(text) - len(text))].rstrip() + "…"
    return text


def buttons(state: Event | None) -> tuple[str, ...]:
    """Return what can be pressed below a turn."""
    match state.kind if state is not None else None:
        case EventKind.DONE:
            return AGAIN, OPEN
        case EventKind.FAILED | EventKind.CANCELLED:
            return RETRY, OPEN
        case _:
            return (STOP,)


def standing(state: Event | None) -> str:
    """Return the line below a turn."""
    if state is None:
        return ASKING
    facts = state.data
    match state.kind:
        case EventKind.QUEUED:
            return f"-# {waiting(facts.get('position'), facts.get('eta'))}"
        case EventKind.DONE:
            return f"-# {_figures(facts)}"
        case EventKind.CANCELLED:
            return "-# Stopped."
        case EventKind.FAILED:
            return f"**It failed.** {facts.get('reason') or 'No reason was given.'}"
        case _:
            return "-# Writing…"


def waiting(position: Any, eta: Any) -> str:
    """Return in words where a turn waits."""
    if not position:
        return "Waiting for a node."
    left = f", about {duration(eta)} left" if eta else ""
    return f"Waiting: number {position} in the queue{left}."


def duration(seconds: float) -> str:
    """Return seconds in words."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _figures(facts: Mapping[str, Any]) -> str:
    usage = facts.get("usage") or {}
    found = [facts.get("model"), facts.get("node") and f"on {facts['node']}"]
    if usage.get("completion_tokens"):
        found.append(f"{usage['completion_tokens']} tokens")
    if usage.get("tokens_per_second"):
        found.append(f"{usage['tokens_per_second']:.0f} a second")
    if left_out := facts.get("left_out"):
        found.append(f"without the {left_out} oldest messages, which did not fit")
    return " · ".join(discord.utils.escape_markdown(str(one)) for one in found if one) or "Done."
