"""Tasks of the queue `turns`: finishing, dispatching and sweeping."""

import structlog
from celery import shared_task

from app.services import disbelief, dispatch, sweep, turns
from app.wire import names
from app.wire.errors import EnvelopeError
from workers.retries import AGAIN

log = structlog.get_logger(__name__)


@shared_task(name=names.FINISH, **AGAIN)
def finish(turn: str, attempt: int, node: str, envelope: str) -> None:
    """Take in an attempt's outcome."""
    try:
        turns.finish(turn, attempt, node, envelope)
    except EnvelopeError as error:
        # Not sealed by that node for that turn: somebody else put it here. The real one will come.
        log.warning("finish.refused", turn=turn, attempt=attempt, node=node, error=str(error))
        disbelief.refused(node, error.code)


@shared_task(name=names.DISPATCH)
def dispatch_waiting() -> None:
    """Give waiting turns to free nodes: one has just come up."""
    dispatch.dispatch()
    dispatch.announce_places()


@shared_task(name=names.SWEEP)
def sweep_turns() -> None:
    """Take up again whatever was lost on the way."""
    sweep.sweep()
