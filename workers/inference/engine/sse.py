"""Server-sent events out of whatever pieces the network delivers."""

from __future__ import annotations

#: The longest event llama.cpp sends is about a kilobyte; a peer that never ends one is not talking SSE.
EVENT_BYTES = 1_000_000


class EventTooLong(ValueError):
    """More bytes than any event has, and no end of it."""


class EventReader:
    """Collects bytes, gives whole events; multi-byte characters may be cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads of the events that `data` completes. Comments (pings) are no events."""
        if b"\r" in data:
            data = data.replace(b"\r", b"")
        *events, self._rest = (self._rest + data).split(b"\n\n")
        if len(self._rest) > EVENT_BYTES:
            raise EventTooLong(f"an event of more than {EVENT_BYTES} bytes")
        payloads: list[bytes] = []
        for event in events:
            if event.startswith(b"data: ") and b"\n" not in event:
                payloads.append(event[6:])
            elif payload := _payload(event):
                payloads.append(payload)
        return payloads


def _payload(event: bytes) -> bytes:
    """The data of an event with several lines, comments or a field without the space."""
    parts: list[bytes] = []
    for line in event.split(b"\n"):
        field, _, value = line.partition(b":")
        # Older llama-servers report an error in the middle of a stream as a field of its own.
        if field in (b"data", b"error"):
            parts.append(value.removeprefix(b" "))
    return b"\n".join(parts)
