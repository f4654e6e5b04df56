"""The figures of finished turns; never any text."""

from typing import Any

from sqlalchemy.dialects.postgresql import insert

from app.core.db import transaction
from app.core.models import Metric


def log(row: dict[str, Any]) -> None:
    """Keep one turn's figures; the same turn and attempt twice is kept once."""
    with transaction() as tx:
        tx.execute(insert(Metric).values(row).on_conflict_do_nothing())
