"""A few questions to the embedded Valkey over one short connection, with nothing loaded for them but a parser.

The whole client takes half the time that `meatlizard status` may, and keeps what nobody needs here: pools, retries,
clusters, figures.
"""

import socket
from collections.abc import Sequence
from typing import Any, Final

import hiredis

from app.local import ports

SECONDS: Final = 3.0
"""Until the server must have said the next word."""
CHUNK: Final = 1 << 16
"""Bytes taken in at once."""


def asked(port: int, user: str, password: str, *questions: Sequence[str]) -> list[Any]:
    """Ask all questions at once; return each answer: text, a whole number, None, or a list of these.

    Raises OSError where the server does not answer, `hiredis.HiredisError` where it refuses or answers nonsense.
    """
    # What a node says of itself is anybody's word: not always UTF-8.
    reader = hiredis.Reader(encoding="utf-8", errors="replace")
    asking: list[tuple[Any, ...]] = [("AUTH", user, password), *(tuple(question) for question in questions)]
    said = b"".join(hiredis.pack_command(question) for question in asking)
    answers: list[Any] = []
    with socket.create_connection((ports.LOOPBACK, port), timeout=SECONDS) as link:
        link.sendall(said)
        while len(answers) <= len(questions):
            heard = link.recv(CHUNK)
            if not heard:
                raise ConnectionResetError("it closed the connection")
            reader.feed(heard)
            while (answer := reader.gets()) is not False:
                if isinstance(answer, hiredis.HiredisError):
                    raise answer
                answers.append(answer)
    return answers[1:]
