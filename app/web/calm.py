"""The WebSocket protocol of our web process: uvicorn's, but it reads no further than its reader takes."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class CalmProtocol(WebSocketsSansIOProtocol):
    """Holds back what comes in while what goes out is not taken.

    Every ping is answered, and uvicorn writes the answer whether or not there is room for it: who pings without reading
    would fill the process's memory as fast as the line carries.
    """

    def pause_writing(self) -> None:
        """Read no more."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on, unless a message waits for the application still."""
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        """Return the next message; taking it makes room for another one only where the answers have some too."""
        message = await super().receive()
        if not self.writable.is_set() and not self.disconnected:
            self.transport.pause_reading()
        return message
