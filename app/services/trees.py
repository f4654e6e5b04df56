"""Which commands Discord was told of last, so that a start does not tell it the same again."""

from sqlalchemy.dialects.postgresql import insert

from app.core.db import transaction
from app.core.models import DiscordTree, now


def told(guild: int, application: int) -> bytes | None:
    """Return the hash of what a guild was told last; None for nothing."""
    with transaction() as tx:
        row = tx.get(DiscordTree, (guild, application))
        return row.digest if row else None


def tell(guild: int, application: int, digest: bytes) -> None:
    """Keep it."""
    values = {"digest": digest, "synced_at": now()}
    row = insert(DiscordTree).values(guild_id=guild, application_id=application, **values)
    with transaction() as tx:
        tx.execute(row.on_conflict_do_update(index_elements=["guild_id", "application_id"], set_=values))
