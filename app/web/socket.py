"""The chat socket: prompts and stops come in, the events of a session's turns go out."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis

from app.core import clock, redis
from app.services import asking, limits, sessions, turns
from app.services.accounts import Person
from app.services.asking import Asking
from app.services.rights import Right
from app.stream.hub import LOST, Hub
from app.stream.waits import Waits
from app.web import messages
from app.web.deps import address, person
from app.web.intake import Intake, Taken, shown
from app.web.stamps import Stamp, Stamps, unstamped
from app.web.watch import Watch
from app.wire import names
from app.wire.errors import Busy, MeatLizardError, NotFound, NotSignedIn, Unavailable
from app.wire.states import Door

log = structlog.get_logger(__name__)
router = APIRouter()

SIGN_IN_AGAIN: Final = 4401
NO_SUCH_SESSION: Final = 4404
TRY_AGAIN: Final = 1013
"""Close codes; the page reconnects after the last one only."""
SEND_SECONDS: Final = 10
"""A reader that takes longer for one message is cut loose; it comes back and catches up."""
TURNS_AT_ONCE: Final = 256
"""Turns that one socket watches at the same time; those over it are told from their beginning as others end."""
WELCOME_SECONDS: Final = 2.0
"""How long after somebody was shut out their open socket may still take a prompt."""
RATE: Final = RateLimitItemPerSecond(20)
"""Messages a socket may send; a flood is read no faster, so that it waits in its own sender."""
MOST_PAUSE_SECONDS: Final = 10.0
"""How long a flood is left unread at most: twice as long each time, from one second on."""


class ChatSocket:
    """One browser's open page of one session."""

    def __init__(
        self, socket: WebSocket, who: Person, session: str, hub: Hub, client: Redis, intake: Intake, ended: asyncio.Event
    ) -> None:
        self._socket: Final = socket
        self._who = who
        self._address: Final = address(socket)
        self._welcomed = time.monotonic()
        self._session: Final = session
        self._hub: Final = hub
        self._redis: Final = client
        self._intake: Final = intake
        self._watches: Final[dict[str, asyncio.Task[None]]] = {}
        self._room: Final = asyncio.Semaphore(TURNS_AT_ONCE)
        self._sending: Final = asyncio.Lock()
        self._stamps: Final = Stamps()
        self._ended: Final = ended
        """Set by the doorkeeper when they are not welcome any more."""
        self._limiter: Final = MovingWindowRateLimiter(MemoryStorage())
        self._pause = 1.0
        self._flooded = -2 * MOST_PAUSE_SECONDS
        """When a flood was last left unread."""
        self._cut: Final = asyncio.Event()
        """Set when the reader is given up; a reader that takes nothing takes no close frame either."""
        self._waits: Final = Waits(SEND_SECONDS, self._cut.set)
        """For the reader to take a message."""

    async def run(self) -> None:
        """Serve the socket until it is closed, or its reader is given up."""
        listening = asyncio.create_task(self._listen())
        receiving = asyncio.create_task(self._receive())
        cut = asyncio.create_task(self._cut.wait())
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait((receiving, cut, ended), return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                receiving.result()
            elif ended.done():
                await self._show_out()
        except (WebSocketDisconnect, TimeoutError):
            pass
        finally:
            self._waits.close()
            for task in (listening, receiving, cut, ended, *self._watches.values()):
                task.cancel()

    async def _show_out(self) -> None:
        for watch in self._watches.values():
            watch.cancel()
        async with asyncio.timeout(SEND_SECONDS):
            await self._socket.close(SIGN_IN_AGAIN, "your login has ended")

    async def _receive(self) -> None:
        while True:
            await self._slow_down()
            await self._handle(await self._socket.receive())

    async def send(self, body: dict[str, Any]) -> None:
        """Send one message; a reader that does not take it in time is cut loose."""
        text = orjson.dumps(body).decode()
        async with self._sending:
            self._waits.begin()
            try:
                await self._socket.send_text(text)
            except RuntimeError:  # Starlette's word for a socket that is closed already.
                raise WebSocketDisconnect from None
            finally:
                self._waits.end()

    async def refuse(self, error: MeatLizardError, identity: str | None = None) -> None:
        """Say what was wrong with a message, with the id of the prompt that it refuses."""
        body = {"event": "error", "code": error.code, "message": str(error)}
        await self.send(body | ({"id": identity} if identity else {}))

    async def _slow_down(self) -> None:
        if await self._limiter.hit(RATE, "in"):
            return
        now = time.monotonic()
        self._pause = min(MOST_PAUSE_SECONDS, 2 * self._pause) if now - self._flooded < 2 * MOST_PAUSE_SECONDS else 1.0
        await self.refuse(Busy("Too many messages at once. Each is read in its turn; send fewer."))
        await asyncio.sleep(self._pause)
        self._flooded = time.monotonic()
        await self._limiter.hit(RATE, "in")

    async def _handle(self, frame: Any) -> None:
        if frame["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(frame.get("code", 1000))
        identity: str | None = None
        try:
            given = messages.parse(frame.get("text"))
            identity = getattr(given, "id", None)
            came = clock.now_ms()
            await self._still_welcome()
            await self._answer(given, came)
        except NotSignedIn as error:
            await self.refuse(error, identity)
            await self._socket.close(SIGN_IN_AGAIN, str(error)[:120])
            raise WebSocketDisconnect(SIGN_IN_AGAIN) from None
        except MeatLizardError as error:
            await self.refuse(error, identity)
        except redis.ERRORS:
            await self.refuse(Unavailable(), identity)

    async def _still_welcome(self) -> None:
        """Look again, though not at every word, whether the login or token that opened the socket still stands."""
        if time.monotonic() - self._welcomed > WELCOME_SECONDS:
            self._who = await person(self._socket)
            self._welcomed = time.monotonic()

    async def _answer(self, given: messages.Message, came: float) -> None:
        user, session = self._who.id, self._session
        match given:
            case messages.Prompt():
                sampling = given.sampling.model_dump(exclude_none=True)
                taken = await self._intake.submit(
                    Asking(self._who, session, given.id, given.text, given.parent, Door.WEB, sampling, self._address)
                )
                await self._accept(taken, given.id, came)
            case messages.Retry():
                await self._accept(await asyncio.to_thread(self._retried, given), given.id, came)
            case messages.Resume():
                await self._survive(functools.partial(self._resume, given))
            case messages.Stop():
                await asyncio.to_thread(turns.stop, given.turn, user)
            case messages.Shown():
                await self._stamps.shown(given)
            case messages.Ping():
                await self.send({"event": "pong"})

    async def _resume(self, given: messages.Resume) -> None:
        """Go on with a turn. With PostgreSQL away the socket is closed: a page that is refused would not ask again."""
        try:
            await asyncio.to_thread(turns.owned, given.turn, self._who.id, self._session)
        except NotFound as error:
            await self.refuse(error)
            return
        self._watch(given.turn, given.at)

    def _retried(self, given: messages.Retry) -> Taken:
        return shown(asking.retry(self._who, self._session, given.id, given.turn, Door.WEB, self._address))

    async def _accept(self, taken: Taken, identity: str, came: float) -> None:
        accepted = taken.turn
        await self.send(messages.accepted(accepted, taken.html, identity))
        log.info("turn.accepted", turn=accepted.turn)
        self._watch(accepted.turn, 0, self._stamps.accepted(accepted.turn, came), begun=accepted.begun)
        with contextlib.suppress(*redis.ERRORS):
            await self._redis.publish(names.session_channel(self._session), accepted.turn)

    def _watch(self, turn: str, at: int, stamp: Stamp = unstamped, *, begun: bool = False) -> None:
        turn = str(UUID(turn))
        if task := self._watches.get(turn):
            task.cancel()
        if len(self._watches) >= TURNS_AT_ONCE:
            for key in [key for key, task in self._watches.items() if task.done()]:
                del self._watches[key]
        watch = Watch(turn, self._session, at, self._hub, self._redis, self.send, stamp, begun=begun)

        async def follow() -> None:
            async with self._room:
                await watch.run()

        self._watches[turn] = asyncio.create_task(self._survive(follow))

    async def _listen(self) -> None:
        """Hear of turns that were begun on another page of the same session."""
        async with self._hub.listen(names.session_channel(self._session)) as listener:
            while True:
                message = await listener.get()
                if message == LOST:
                    continue
                turn = message.decode(errors="replace")
                if turn == names.SESSION_GONE:
                    await self._survive(self._leave)
                elif turn not in self._watches:
                    await self._survive(functools.partial(self._join, turn))

    async def _leave(self) -> None:
        """Close a page whose session was deleted on another; that it was is asked of PostgreSQL."""
        try:
            await asyncio.to_thread(sessions.check, self._session, self._who.id)
        except NotFound as error:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(SEND_SECONDS):
                    await self._socket.close(NO_SUCH_SESSION, str(error)[:120])
            self._cut.set()

    async def _join(self, turn: str) -> None:
        taken, identity = await asyncio.to_thread(self._found, turn)
        await self.send(messages.accepted(taken.turn, taken.html, identity))
        self._watch(turn, 0)

    def _found(self, turn: str) -> tuple[Taken, str]:
        accepted, identity = turns.accepted(turn, self._who.id, self._session)
        return shown(accepted), identity

    async def _survive(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (WebSocketDisconnect, NotFound):
            return
        except (MeatLizardError, *redis.ERRORS) as error:
            # The page comes back, resumes where it stands, and by then the server may be there again.
            log.warning("socket.lost", session=self._session, error=str(error))
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(SEND_SECONDS):
                    await self._socket.close(TRY_AGAIN, "a server is away: reconnect and catch up")
            self._cut.set()


@contextlib.asynccontextmanager
async def _counted(who: Person, place: str) -> AsyncIterator[None]:
    """Count an open page for as long as it is; raise Busy where somebody has too many."""
    page = await asyncio.to_thread(limits.open_page, who, place)

    async def stay() -> None:
        while True:
            await asyncio.sleep(limits.SOCKET_SECONDS / 3)
            with contextlib.suppress(Busy, Unavailable):
                await asyncio.to_thread(limits.open_page, who, place, page)

    staying = asyncio.create_task(stay())
    try:
        yield
    finally:
        staying.cancel()
        await asyncio.to_thread(limits.close_page, who, place, page)


@router.websocket("/ws/sessions/{session}")
async def chat(socket: WebSocket, session: str) -> None:
    """Open the socket of a session for its owner."""
    try:
        await socket.accept()
    except OSError:  # Who asked has hung up already; uvicorn's word for it is no WebSocketDisconnect here.
        return
    state = socket.app.state
    try:
        who = await person(socket)
        if not who.may(Right.CHAT):
            raise NotSignedIn("This token is not for chatting: make one with the scope `chat`.")
        await asyncio.to_thread(sessions.check, session, who.id)
        async with state.doorkeeper.visit(socket, who) as ended:
            session = str(sessions.parse_id(session))
            structlog.contextvars.bind_contextvars(session=session)
            async with _counted(who, address(socket)):
                await ChatSocket(socket, who, session, state.hub, state.redis, state.intake, ended).run()
    except NotSignedIn as error:
        await _close(socket, SIGN_IN_AGAIN, error)
    except NotFound as error:
        await _close(socket, NO_SUCH_SESSION, error)
    except MeatLizardError as error:
        await _close(socket, TRY_AGAIN, error)


async def _close(socket: WebSocket, code: int, why: MeatLizardError) -> None:
    with contextlib.suppress(WebSocketDisconnect):  # Who did not wait has closed it already.
        await socket.close(code, str(why)[:120])
