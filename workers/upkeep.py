"""Tasks of the queue `upkeep`: what has to be tidied from time to time."""

from celery import shared_task

from app.core.broker import enqueue
from app.services import conversations, erasure, logins, rotation
from app.wire import names


@shared_task(name=names.EXPIRE_LOGINS)
def expire_logins() -> None:
    """Remove the logins whose time is over, and have the guests deleted who were nobody without theirs."""
    logins.expire()
    erasure.forget_guests()


@shared_task(name=names.FORGET_CONVERSATIONS)
def forget_conversations() -> None:
    """Remove what came in by the API, once its time is over."""
    conversations.forget_old()


@shared_task(name=names.RESEAL)
def reseal() -> None:
    """Seal anew what an older master key sealed, a moment at a time."""
    if rotation.work():
        enqueue(names.RESEAL)


@shared_task(name=names.ERASE)
def erase(user: str) -> None:
    """Delete all that is left of somebody."""
    erasure.erase(user)


@shared_task(name=names.SWEEP_ERASURES)
def sweep_erasures() -> None:
    """Go on with deletions that were cut off."""
    for user in erasure.waiting():
        enqueue(names.ERASE, user, expires=names.ERASURE_SECONDS)
