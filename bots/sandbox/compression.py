"""Transport compression of the gateway: one stream a connection, flushed after each message (docs: events/gateway)."""

import importlib
import zlib
from typing import Any, Final, Protocol

ZLIB: Final = "zlib-stream"
ZSTD: Final = "zstd-stream"


def _module(name: str) -> Any:
    """A module that may be missing, and whose types are then missing too."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


# The standard library has it from 3.14 on; before, discord.py speaks zstd only where `zstandard` is installed.
_zstd: Final = _module("compression.zstd")
_zstandard: Final = _module("zstandard")


class Stream(Protocol):
    """Turns the texts of one connection into the bytes of one stream."""

    def pack(self, text: str) -> bytes:
        """The next message, ready to be unpacked on arrival."""
        ...


class ZlibStream:
    """Each message ends with Z_SYNC_FLUSH: 00 00 ff ff."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj()

    def pack(self, text: str) -> bytes:
        """The next message."""
        return self._stream.compress(text.encode()) + self._stream.flush(zlib.Z_SYNC_FLUSH)


class ZstdStream:
    """Each message ends a block, none ends the frame."""

    def __init__(self) -> None:
        self._stream: Any
        if _zstd is not None:
            self._stream = _zstd.ZstdCompressor()
            self._flush = (_zstd.ZstdCompressor.FLUSH_BLOCK,)
        else:
            self._stream = _zstandard.ZstdCompressor().compressobj()
            self._flush = (_zstandard.COMPRESSOBJ_FLUSH_BLOCK,)

    def pack(self, text: str) -> bytes:
        """The next message."""
        return bytes(self._stream.compress(text.encode()) + self._stream.flush(*self._flush))


def has_zstd() -> bool:
    """Whether this Python can compress with zstd."""
    return _zstd is not None or _zstandard is not None


def stream(kind: str) -> Stream | None:
    """The stream that was asked for in `compress=`; None when it cannot be had."""
    if kind == ZLIB:
        return ZlibStream()
    if kind == ZSTD and has_zstd():
        return ZstdStream()
    return None
