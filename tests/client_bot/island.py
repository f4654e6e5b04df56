"""A network of its own with one bridge out of it, to the sandbox: python -m tests.client_bot.island SOCKET PORT COMMAND...

What comes to PORT on the island's loopback goes over the Unix socket, which knows no network, to whoever serves it. An
engine stands on the island beside the node, which gets its address; nothing else can be reached.
"""

import asyncio
import errno
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tests.fakes.llama import LlamaFake, Options

SET_FLAGS = 0x8914
"""SIOCSIFFLAGS (netdevice(7))."""
UP = 0x1
WHOLE = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", "--net")
"""What makes an island."""


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Carry them both ways."""
    await asyncio.gather(pipe(reader, far[1]), pipe(far[0], writer))


async def bridge_head(path: Path, port: int) -> asyncio.Server:
    """Serve the end of the bridge that is not on the island."""

    async def cross(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join(reader, writer, await asyncio.open_connection("127.0.0.1", port))

    return await asyncio.start_unix_server(cross, path)


async def live(path: str, port: int, command: list[str]) -> int:
    """Run a command on the island until it ends or is told to."""
    with socket.socket() as one:
        fcntl.ioctl(one, SET_FLAGS, struct.pack("16sh", b"lo", UP))
    for address in ("192.0.2.1", "8.8.8.8"):
        with socket.socket() as one:
            assert one.connect_ex((address, 443)) == errno.ENETUNREACH

    async def cross(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join(reader, writer, await asyncio.open_unix_connection(path))

    await asyncio.start_server(cross, "127.0.0.1", port)
    llama = LlamaFake(Options(rate=200.0, length=40))
    environment = os.environ | {"MEATLIZARD_LLAMA_URL": await llama.start()}
    child = await asyncio.create_subprocess_exec(*command, env=environment, stdin=subprocess.DEVNULL)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, child.terminate)
    return await child.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(live(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
