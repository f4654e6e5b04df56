"""How long, and for how much, one connection is waited for: uvicorn's protocols, with an end to what has none in them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame

from app.web.security import HEADERS

HEAD_SECONDS: Final = 15
"""From the first moment of a connection, or the first byte of its next request, to the last of the headers."""
BODY_SECONDS: Final = 60
"""For the rest of a request: a megabyte, the most that is taken, comes in it over a slow telephone."""
STUCK_SECONDS: Final = 30
"""For a reader to take of what lies ready for it."""
HEAD_BYTES: Final = 64 << 10
"""Of address and headers: browsers send a twentieth of it, and httptools would keep as much as comes."""
PIPELINED: Final = 16
"""Requests that may lie behind one that is not answered yet; browsers send none."""
PIECE_BYTES: Final = 2 << 10
"""What is read of a socket before others have their turn: it may be some hundred frames."""
GONE: Final = "meatlizard.gone"
"""The key of a request's scope that says, when called, whether whoever asked has hung up."""
CONTROLS: Final = 32
"""Pings and pongs a second. A page sends none, and answers one of ours every twenty seconds."""
STRANGERS: Final = logging.getLogger("meatlizard.strangers")
"""Of what uvicorn says of each connection: who comes and goes, and what junk they send, is no event of ours. A flood of it
would fill the log, and cost everybody time. Errors it tells as before."""
STRANGERS.setLevel(logging.ERROR)


def _bare(status: str) -> bytes:
    """Return an answer that no middleware sees, with the headers that stand on all others."""
    headers = HEADERS | {"cache-control": "no-store", "connection": "close", "content-length": "0"}
    return "\r\n".join((f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "", "")).encode()


SLOW: Final = _bare("408 Request Timeout")
BAD: Final = _bare("400 Bad Request")


class Overdone(Exception):
    """A request such as no client sends."""


class Deadline:
    """The end of one wait; a new one takes the place of the one before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._timer: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        """Whether anything is waited for."""
        return self._timer is not None

    def start(self, seconds: float, late: Callable[[], object]) -> None:
        """Call `late` after so long, unless `end` comes before."""
        self.end()
        self._timer = self._loop.call_later(seconds, late)

    def end(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Http(HttpToolsProtocol):
    """One connection: slow requests, endless headers and readers that take nothing have an end."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.logger = STRANGERS
        self._coming: Final = Deadline(self.loop)
        self._going: Final = Deadline(self.loop)
        self._in_head = self._in_body = self._left = False
        self._unread = 0
        """Bytes since the last that meant anything: what the parser may be keeping."""
        self._head = 0
        self._answering: RequestResponseCycle | None = None
        """Which may be an older request than `cycle`, the last that came."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As uvicorn's own.
        """Give a new connection as long as the headers of a request may take."""
        super().connection_made(transport)
        self._coming.start(HEAD_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._coming.end()
        self._going.end()
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Take what came; let go of headers without end, and of empty lines that keep a connection."""
        self._unread += len(data)
        super().data_received(data)
        if self._left or self.transport.is_closing():
            return
        if self._unread > HEAD_BYTES:
            self.transport.abort()
        elif not (self._in_head or self._in_body or self._coming.runs or self.timeout_keep_alive_task) and self._answered:
            self._coming.start(HEAD_SECONDS, self._too_slow)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head, self._head = True, 0
        if self.cycle is not None:  # The first one's time began with the connection.
            self._coming.start(HEAD_SECONDS, self._too_slow)

    def on_url(self, url: bytes) -> None:
        """Take a piece of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or what may follow a body in its place."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        if len(self.pipeline) >= PIPELINED:
            raise Overdone
        self._unread, self._in_head, self._in_body = 0, False, True
        self._coming.start(BODY_SECONDS, self._too_slow)
        self.scope[GONE] = self.transport.is_closing  # type: ignore[typeddict-unknown-key]  # A key of ours.
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Have all of a request."""
        self._unread, self._in_body = 0, False
        self._coming.end()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Have answered; where that was the last time, the reader has to take it."""
        super().on_response_complete()
        self._last_words()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the other protocol."""
        self._left = True
        self._coming.end()
        self._going.end()
        super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request; in the midst of an answer there is no place to say so."""
        if not self._answered:
            self.transport.abort()
            return
        self.transport.write(BAD)
        self.transport.close()
        self._last_words()

    def pause_writing(self) -> None:
        """Wait for a reader, but not for ever."""
        super().pause_writing()
        self._going.start(STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, now that it took some."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._going.end()

    def timeout_keep_alive_handler(self) -> None:
        """Close what is not used any more."""
        super().timeout_keep_alive_handler()
        self._last_words()

    @property
    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _count(self, length: int) -> None:
        self._head += length
        if self._head > HEAD_BYTES:
            raise Overdone

    def _too_slow(self) -> None:
        self._coming.end()
        waiting = self._answered if self._in_head else self._in_body and not self.cycle.response_started
        if not waiting:
            self.transport.abort()
            return
        if self._in_body:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(SLOW)
        self.transport.close()
        self._last_words()

    def _last_words(self) -> None:
        # A transport that is closed waits for its reader to take the rest, however long.
        if self.transport.is_closing():
            self._going.start(STUCK_SECONDS, self.transport.abort)


class WebSocket(WebSocketsSansIOProtocol):
    """One socket: unread answers, floods of pings and messages in endless pieces have an end."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.logger = self.conn.logger = STRANGERS
        self._going: Final = Deadline(self.loop)
        self._rest: Final = bytearray()
        """What has come and is not looked at yet."""
        self._next: asyncio.Handle | None = None
        self._controls = 0
        self._second = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._going.end()
        self._rest.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, piece by piece, so that nobody else has to wait for all of it."""
        if self._rest or self._held or len(data) > PIECE_BYTES:
            self._rest.extend(data)
            self._go_on()
        else:
            self._feed(data)
            self._flow()

    async def receive(self) -> Any:
        """Hand out the next message; when there is none left, more is read."""
        message = await super().receive()
        if self._rest:
            self._go_on()
        self._flow()
        return message

    async def send(self, message: Any) -> None:
        """Send a message; after the last one nothing that comes is kept."""
        await super().send(message)
        self._flow()

    def pause_writing(self) -> None:
        """Read nothing either until the reader takes what lies ready, and do not wait for ever."""
        super().pause_writing()
        self._going.start(STUCK_SECONDS, self.transport.abort)
        self._flow()

    def resume_writing(self) -> None:
        """Go on, now that it took some."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._going.end()
        self._go_on()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """End the connection, whether or not its reader takes the rest."""
        super().on_task_complete(task)
        if not self.disconnected:
            self._going.start(STUCK_SECONDS, self.transport.abort)

    def handle_ping(self) -> None:
        """Answer a ping."""
        if self._fine():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Take the answer to a ping."""
        if self._fine():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Take another piece of a message; its size is bounded, the number of its pieces is not."""
        if not isinstance(self.frames[0], bytearray):
            self.frames = [bytearray(self.frames[0])]  # type: ignore[list-item]  # uvicorn says bytes and adds to them.
        self.frames[0] += event.data
        if event.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """Hand on a message; one that is no text ends its socket without a word in the log."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.fail(CloseCode.INVALID_DATA)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    @property
    def _held(self) -> bool:
        return self.read_paused or not self.writable.is_set()

    def _go_on(self) -> None:
        if self._next is None and self._rest:
            self._next = self.loop.call_soon(self._take)
        self._flow()

    def _take(self) -> None:
        self._next = None
        if self.disconnected or self.transport.is_closing():
            self._rest.clear()
        elif not self._held:
            piece = bytes(self._rest[:PIECE_BYTES])
            del self._rest[:PIECE_BYTES]
            self._feed(piece)
            self._go_on()

    def _feed(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except (InvalidState, AssertionError):  # What comes after the end of a socket that was closed for what it sent.
            self.transport.abort()

    def _flow(self) -> None:
        if self.disconnected or self.transport.is_closing():
            return
        reads = not (self._held or self._rest)
        if reads != self.transport.is_reading():
            (self.transport.resume_reading if reads else self.transport.pause_reading)()

    def _fine(self) -> bool:
        if self.disconnected or self.transport.is_closing():
            return False
        now = self.loop.time()
        if now - self._second >= 1:
            self._second, self._controls = now, 0
        self._controls += 1
        if self._controls > CONTROLS:
            self.transport.abort()
            return False
        return True
