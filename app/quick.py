"""Verbs that stay for long or are waited for, told by their words alone.

Typer with all it loads takes 2 MB of a process that then waits for months, and half of the time that `status` needs. It reads
whatever is said in another way, help and mistakes among them.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

PROCESSES: Final = ("web", "worker", "beat", "server-bot", "flower")


def meant(words: Sequence[str]) -> Callable[[], object] | None:
    """Return what to do for a command line; None where typer shall read it."""
    verb, *rest = words or ("",)
    if list(words[:2]) == ["audit", "verify"]:
        verb, rest = "audit verify", rest[1:]
    said = _options(rest)
    if said is None:
        return None
    home, more = said.pop("--home", None), set(said)
    if verb == "status" and more <= {"--json"}:
        return partial(_status, home, bool(more))
    if verb == "audit verify" and more <= {"--json"}:
        return partial(_verify, home, bool(more))
    if verb in PROCESSES and not more:
        return partial(_begin, verb.replace("-", "_"), home)
    if verb == "node" and more == {"--name"}:
        return partial(_begin, verb, home, said["--name"])
    return None


def _options(words: Sequence[str]) -> dict[str, str] | None:
    """Return what is said, each once and with its word after it; None for anything else."""
    said: dict[str, str] = {}
    left = iter(words)
    for word in left:
        if word in said:
            return None
        if word == "--json":
            said[word] = ""
        elif word in ("--home", "--name") and (value := next(left, "")) and not value.startswith("-"):
            said[word] = value
        else:
            return None
    return said


def _choose(home: str | None) -> None:
    if home is not None:
        os.environ["MEATLIZARD_HOME"] = str(Path(home).expanduser().absolute())


def _begin(verb: str, home: str | None, *words: str) -> None:
    _choose(home)
    from app import processes

    getattr(processes, verb)(*words)


def _status(home: str | None, as_json: bool) -> int:
    from app.local import status
    from app.local.home import Home, explain

    place: Home | None = None
    try:
        place = Home.at(home)
        return status.say(place, as_json)
    except OSError as error:
        raise explain(error, place.path if place else Path()) from None


def _verify(home: str | None, as_json: bool) -> None:
    _choose(home)
    from app import soundness

    soundness.say(as_json)
