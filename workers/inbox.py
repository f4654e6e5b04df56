"""The worker's doorkeeper: takes what nodes hand in, does the three things they may ask for, and drops the rest."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Final

import structlog
from celery import bootsteps
from redis import Redis
from redis.exceptions import TimeoutError as RedisTimeout
from tenacity import Retrying, wait_random_exponential

from app.core import redis
from app.core.broker import enqueue
from app.services import disbelief, dispatch, room, sweep, turns
from app.wire import names
from app.wire.errors import EnvelopeError, MeatLizardError, Unavailable
from app.wire.inbox import Asked, Handed

log = structlog.get_logger(__name__)

HANDS: Final = 4
"""Messages that are acted on at once; each waits for PostgreSQL most of its time."""
TOGETHER: Final = 32
"""Messages that one hand takes at once, where so many wait: their outcomes are written down in one step."""
WAIT_SECONDS: Final = 1
"""How long one question for messages stays open: so long may an orderly end take."""
TELL_SECONDS: Final = 0.25
"""Places are told no more often than this, however often they change."""


class Inbox:
    """Reads the list of the nodes, and tells those who wait their place when the queue says that it has changed."""

    def __init__(self) -> None:
        self._over: Final = threading.Event()
        self._hands: Final = ThreadPoolExecutor(HANDS, "inbox")
        self._free: Final = threading.Semaphore(HANDS)
        self._threads: Final = [
            threading.Thread(target=self._forever, args=(work,), name=work.__name__, daemon=True)
            for work in (self._take, self._tell, self._keep_room)
        ]

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what was taken; what was not stays in the list."""
        self._over.set()
        for thread in self._threads:
            thread.join(WAIT_SECONDS + redis.TIMEOUT_SECONDS)
        self._hands.shutdown()

    def _forever(self, work: Any) -> None:
        while not self._over.is_set():
            for attempt in Retrying(wait=wait_random_exponential(multiplier=0.1, max=5), sleep=self._pause):
                with attempt:
                    if self._over.is_set():
                        return
                    with redis.blocking_client(WAIT_SECONDS) as client:
                        while not self._over.is_set():
                            work(client)

    def _pause(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _take(self, client: "Redis") -> None:
        # A hand first: what is taken out of the list while all are full would be lost with this process.
        self._free.acquire()
        taken: list[bytes] = []
        try:
            if first := _next(client, names.NODES_INBOX):
                more: Any = client.rpop(names.NODES_INBOX, TOGETHER - 1)
                taken = [first, *(more or ())]
        finally:
            if not taken:
                self._free.release()
        if taken:
            self._hands.submit(self._act, taken)

    def _act(self, taken: list[bytes]) -> None:
        try:
            act(*taken)
        except Exception:
            log.exception("inbox.failed")
        finally:
            self._free.release()

    def _tell(self, client: "Redis") -> None:
        if _next(client, names.QUEUE_CHANGED) is None:
            return
        try:
            dispatch.announce_places()
        except (MeatLizardError, *redis.ERRORS) as error:
            log.warning("places.later", error=str(error))
        self._over.wait(TELL_SECONDS)

    def _keep_room(self, _: "Redis") -> None:
        room.keep()
        self._over.wait(room.EVERY_SECONDS)


def _next(client: "Redis", key: str) -> bytes | None:
    try:
        answer: Any = client.brpop([key], timeout=WAIT_SECONDS)
    except RedisTimeout:
        return None
    return answer[1] if answer else None


def act(*taken: bytes) -> None:
    """Do what messages ask for; what is none is counted, and nothing else comes of it."""
    finished = []
    for raw in taken:
        handed = None
        try:
            handed = Handed.parse(raw)
            match handed.asked:
                case Asked.FINISH:
                    finished.append(handed)
                case Asked.RESTORE:
                    sweep.restore_one(handed.turn, handed.attempt, handed.node)
                case Asked.DISPATCH:
                    dispatch.dispatch()
        except EnvelopeError as error:
            log.warning("inbox.refused", bytes=len(raw), error=str(error))
            disbelief.refused(handed.node if handed else "", error.code)
        except (Unavailable, *redis.ERRORS) as error:
            log.warning("inbox.later", error=str(error))
    if finished:
        finish(finished)


def finish(handed: Sequence[Handed]) -> None:
    """Take in attempts' outcomes; where PostgreSQL is away they become tasks, which wait for it."""
    try:
        for one, answer in zip(handed, turns.finish_all(handed), strict=True):
            if isinstance(answer, EnvelopeError):
                # Not sealed by that node for that turn: somebody else put it here.
                log.warning("inbox.refused", turn=one.turn, attempt=one.attempt, node=one.node, error=str(answer))
                disbelief.refused(one.node, answer.code)
    except (Unavailable, *redis.ERRORS) as error:
        log.warning("finish.later", turns=[one.turn for one in handed], error=str(error))
        for one in handed:
            words = (one.turn, one.attempt, one.node)
            enqueue(names.FINISH, *words, one.envelope, argsrepr=repr((*words, "<sealed>")))
    except Exception:
        if len(handed) == 1:
            raise
        # One that nobody foresaw may not take along those that came with it.
        log.exception("finish.apart", turns=[one.turn for one in handed])
        for one in handed:
            _finish_alone(one)


def _finish_alone(one: Handed) -> None:
    try:
        finish([one])
    except Exception:
        log.exception("finish.failed", turn=one.turn, attempt=one.attempt, node=one.node)


class InboxStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types.
    """Keeps the inbox open for as long as the worker runs."""

    requires: ClassVar = {"celery.worker.components:Pool"}

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._inbox = Inbox()

    def start(self, parent: Any) -> None:
        """Open it."""
        self._inbox.start()

    def stop(self, parent: Any) -> None:
        """Close it."""
        self._inbox.stop()

    terminate = stop
