"""The figures of one finished turn, as the metrics keep them; never any text."""

from typing import Any

from app.core.models import Turn, now
from app.wire.jobs import Outcome


def of(row: Turn, outcome: Outcome) -> dict[str, Any]:
    """Return what is measured of a turn that has ended; the same however often it is asked for."""
    ended = row.finished_at or now()
    return {
        "turn_id": str(row.id),
        "attempt": row.attempt,
        "at": ended.isoformat(),
        "user_id": str(row.user_id),
        "outcome": row.state,
        "door": row.door,
        "lane": row.lane,
        "node": row.node,
        "model": row.model,
        "queue_ms": ((row.leased_at or ended) - row.created_at).total_seconds() * 1000,
        "first_token_ms": outcome.first_token_ms,
        "prompt_ms": outcome.prompt_ms,
        "total_ms": outcome.total_ms,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "tokens_per_second": row.tokens_per_second,
    }
