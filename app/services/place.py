"""A place in a list that is ordered by time: what a reader gives back to go on behind what they have."""

from datetime import UTC, datetime
from uuid import UUID

from app.wire.errors import BadInput


def told(at: datetime, identity: UUID) -> str:
    """Return the place of an entry as text that needs no quoting in an address."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}_{identity}"


def read(given: str) -> tuple[datetime, UUID]:
    """Return the time and id that `told` was given; raise BadInput for anything else."""
    at, _, identity = given.partition("_")
    try:
        found = datetime.fromisoformat(at), UUID(identity)
        if found[0].tzinfo is None:
            raise ValueError
    except ValueError:
        raise BadInput("`before` is not what the list gave as `next`.") from None
    return found
