"""The replies that are being shown in Discord: kept until they are whole there, so that a restart finishes them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.core import keys
from app.core.db import transaction
from app.core.models import DiscordAnswer, Message, Turn, now

LOST_AFTER: Final = timedelta(seconds=60)
"""A prompt that was not kept so long after its message was begun never will be: whoever was at it is gone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and where it is shown."""

    id: str
    """The client id of its turn."""
    channel: int
    messages: list[int]
    """In the order in which they are read; the first one was there before the turn was."""
    turn: str | None = None
    """None where the prompt never came to be kept."""
    session: str = ""
    prompt: str = ""
    """What is shown above the reply; empty where it stands in a message of its own."""
    lost: bool = False
    """Whether it is too long ago that the prompt was to be kept."""


def begin(answer: str, channel: int, message: int, *, quoted: bool = True) -> None:
    """Keep where a reply is going to be shown, before its prompt is; twice does no harm."""
    row = insert(DiscordAnswer).values(id=UUID(answer), channel_id=channel, messages=[message], quoted=quoted)
    with transaction() as tx:
        tx.execute(row.on_conflict_do_nothing())


def submitted(answer: str, turn: str) -> None:
    """Keep which turn it is."""
    with transaction() as tx:
        tx.execute(update(DiscordAnswer).where(DiscordAnswer.id == UUID(answer)).values(turn_id=UUID(turn)))


def shown_in(answer: str, messages: list[int]) -> None:
    """Keep in which messages it is shown by now."""
    with transaction() as tx:
        tx.execute(update(DiscordAnswer).where(DiscordAnswer.id == UUID(answer)).values(messages=messages))


def over(answer: str) -> None:
    """Forget a reply that is whole in Discord."""
    with transaction() as tx:
        tx.execute(delete(DiscordAnswer).where(DiscordAnswer.id == UUID(answer)))


def there(answer: str) -> bool:
    """Say whether it is still to be shown: with its session deleted, it is not."""
    with transaction() as tx:
        return tx.get(DiscordAnswer, UUID(answer)) is not None


def unfinished() -> list[Answer]:
    """Return every reply that is not whole in Discord yet, the oldest first."""
    query = (
        select(DiscordAnswer, Turn, Message)
        .outerjoin(Turn, or_(Turn.id == DiscordAnswer.turn_id, Turn.client_id == DiscordAnswer.id))
        .outerjoin(Message, Message.id == Turn.prompt_id)
        .order_by(DiscordAnswer.created_at)
    )
    with transaction() as tx:
        return [_shown(row, turn, prompt) for row, turn, prompt in tx.execute(query)]


def _shown(row: DiscordAnswer, turn: Turn | None, prompt: Message | None) -> Answer:
    if turn is None or prompt is None:
        lost = now() - row.created_at > LOST_AFTER
        return Answer(str(row.id), row.channel_id, list(row.messages), lost=lost)
    session = str(turn.session_id)
    words = keys.rest(session).open(prompt.body).decode() if row.quoted else ""
    return Answer(str(row.id), row.channel_id, list(row.messages), str(turn.id), session, words)
