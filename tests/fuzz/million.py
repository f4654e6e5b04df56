"""A million bent messages for every parser, without the cost of searching: python -m tests.fuzz.million --seed 1.

Each input is a sound message with a few bytes flipped, cut, doubled or moved, or junk inside a sound seal. A parser may
raise the error it promises and nothing else, and may take as true only what was sealed.
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable

import orjson

from app.web import messages
from app.wire.errors import BadInput, EnvelopeError
from app.wire.events import unseal
from app.wire.frames import Frame, parse_content
from app.wire.jobs import Job, Outcome, outcome_ring
from tests.fuzz.test_parsers import (
    CHANNEL,
    ENVELOPE,
    EVENT,
    FRAME,
    JOB,
    KEYS,
    MASTER,
    OUTCOME,
    SEALER,
    SESSION,
    TURN,
    ring_of,
)

REST = MASTER.derive("rest")
PAGE = orjson.dumps({"type": "prompt", "id": TURN, "text": "Hi", "parent": None, "sampling": {"temperature": 0.5}})
INNER = orjson.dumps({"t": TURN, "a": 1, "k": "delta", "at": 0, "text": "Hi"})
HEAD = {"k": "delta", "t": TURN, "a": 1, "n": "home"}


def bend(chance: random.Random, sound: bytes) -> bytes:
    data = bytearray(sound)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 if place < len(data):
                data[place] ^= chance.randint(1, 255)
            case 1:
                del data[place : place + chance.randint(1, 20)]
            case 2:
                data[place:place] = chance.randbytes(chance.randint(1, 8))
            case 3:
                data[place:place] = chance.choice((b"0", b"-1", b"null", b"1e999", b"[]", b"{}", b'""', b"\\ud800", b"true"))
            case _:
                data[place:] = data[place:] * 2
    return bytes(data)


def envelope(raw: bytes) -> bool:
    return REST.open(raw) == b"words" and raw == ENVELOPE


def frame(raw: bytes) -> bool:
    text = raw.decode("utf-8", "replace")
    parse_content(f"<@1> {text}")
    Frame.open(text, KEYS, CHANNEL, from_node=False)
    return text == FRAME


def event(raw: bytes) -> bool:
    found = unseal(raw, ring_of)
    return (found.turn, found.attempt, found.text) == (TURN, 1, "Hi")


def sealed_event(raw: bytes) -> bool:
    found = unseal(orjson.dumps(HEAD | {"s": SEALER.ring.seal(raw).decode()}), ring_of)
    return found.turn == TURN and found.end >= 0


def job(raw: bytes) -> bool:
    text = raw.decode("utf-8", "replace")
    Job.open(text, KEYS, TURN, 1)
    return text == JOB


def sealed_outcome(raw: bytes) -> bool:
    sealed = outcome_ring(KEYS.from_node, SESSION).seal(raw).decode()
    return Outcome.open(sealed, KEYS, SESSION, TURN, 1).sound().turn == TURN


def page(raw: bytes) -> bool:
    messages.parse(raw.decode("utf-8", "replace"))
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    outcome_body = outcome_ring(KEYS.from_node, SESSION).open(OUTCOME.encode())
    parsers: list[tuple[Callable[[bytes], bool], bytes]] = [
        (envelope, ENVELOPE),
        (frame, FRAME.encode()),
        (event, EVENT),
        (sealed_event, INNER),
        (job, JOB.encode()),
        (sealed_outcome, outcome_body),
        (page, PAGE),
    ]
    taken: Counter[str] = Counter()
    began = time.monotonic()
    for index in range(given.inputs):
        read, sound = parsers[index % len(parsers)]
        raw = bend(chance, sound)
        try:
            good = read(raw)
        except (EnvelopeError, BadInput):
            taken[f"{read.__name__} refused"] += 1
            continue
        except Exception as error:
            raise SystemExit(f"input {index} of seed {given.seed}: {read.__name__} raised {error!r} for {raw!r}") from error
        if not good:
            raise SystemExit(f"input {index} of seed {given.seed}: {read.__name__} took {raw!r} as true")
        taken[f"{read.__name__} read"] += 1
    print(f"{given.inputs:,} inputs in {time.monotonic() - began:.0f} s, no crash, nothing forged was taken: {dict(taken)}")


if __name__ == "__main__":
    main()
