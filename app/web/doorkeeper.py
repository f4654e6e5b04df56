"""Closing at once what somebody has open whose login or token has ended, sockets and streams that only listen included."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import structlog
from starlette.requests import HTTPConnection
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from app.services import logins
from app.services.person import Person
from app.stream.hub import LOST, Hub
from app.web.deps import person
from app.wire import names
from app.wire.errors import NotSignedIn, Unavailable

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 60
"""How often all are looked at whatever is told: a word may have been lost, and what runs out by itself has none."""
AWAY_SECONDS: Final = 60
"""How long it is tried while PostgreSQL is away and nobody can say who is still welcome."""


@dataclass(eq=False, slots=True)
class Visit:
    """One open socket or stream."""

    connection: HTTPConnection
    user: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Doorkeeper:
    """Knows what is open in this process, and hears whose logins and tokens end; `run` it once in each."""

    def __init__(self, hub: Hub) -> None:
        self._hub: Final = hub
        self._visits: Final[set[Visit]] = set()

    @contextlib.asynccontextmanager
    async def visit(self, connection: HTTPConnection, who: Person) -> AsyncIterator[asyncio.Event]:
        """Hold something open for somebody; what is yielded is set when they are not welcome any more.

        Raises NotSignedIn where they ceased to be while they came in.
        """
        visit = Visit(connection, who.id)
        self._visits.add(visit)
        try:
            await person(connection)  # What was told before we listened for it.
            yield visit.ended
        finally:
            self._visits.discard(visit)

    async def run(self) -> None:
        """Look again at what a user has open whenever something of theirs has ended."""
        async with self._hub.listen(names.LOGINS) as listener:
            due = time.monotonic() + LOOK_SECONDS
            while True:
                message = LOST
                # However much is said of others: what ends by its time alone is told by nobody.
                if (left := due - time.monotonic()) > 0:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(left):
                            message = await listener.get()
                if everybody := message in (LOST, logins.EVERYBODY.encode()):
                    due = time.monotonic() + LOOK_SECONDS
                visits = [one for one in self._visits if everybody or one.user.encode() == message]
                async with asyncio.TaskGroup() as looking:
                    for visit in visits:
                        looking.create_task(self._look(visit))

    async def _look(self, visit: Visit) -> None:
        tries = AsyncRetrying(
            retry=retry_if_exception_type(Unavailable), wait=wait_fixed(1), stop=stop_after_delay(AWAY_SECONDS), reraise=True
        )
        try:
            if (await tries(person, visit.connection)).id != visit.user:
                visit.ended.set()
        except NotSignedIn:
            visit.ended.set()
        except Exception as error:
            log.warning("doorkeeper.unknown", error=str(error))
