"""Keeping an invitation on the machine that joins: its settings in a home of its own, and a model to answer with."""

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from app.local import envfile, model
from app.local.home import Home
from app.wire import invitation
from app.wire.errors import BadInput
from workers.inference.settings import NodeSettings

HEADING = """\
Settings of one node, as its invitation said. Keep this file private: it holds the node's keys.
May be added (see docs): MEATLIZARD_MODEL, MEATLIZARD_NGL, MEATLIZARD_CTX_SIZE, MEATLIZARD_LLAMA_URL
"""


@dataclass(frozen=True)
class Joined:
    """Which node this machine is now, and what it answers with."""

    name: str
    model: str


def join(line: str, gguf: Path | None) -> Joined:
    """Write the settings; what a person added to an earlier file of the same node stays."""
    settings = invitation.parse(line)
    try:
        # Its own reading of them, so that what it would stumble over later is said now.
        NodeSettings(_env_file=None, **{name.lower(): value for name, value in settings.items()})  # type: ignore[call-arg,arg-type]
    except ValidationError as error:
        where = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
        raise BadInput(f"This invitation does not say what {where.upper()} is; ask for a new one.") from None
    home = Home.at()
    if home.exists():
        raise BadInput(f"{home.path} is a platform's own home: choose another folder for the node with --home DIR.")
    home.make()
    path = home.nodes / f"{settings['NODE']}.env"
    envfile.update(path, settings, HEADING)
    envfile.remove(path, sorted(invitation.SETTINGS - set(settings)))
    return Joined(settings["NODE"], _model(home, path, gguf))


def _model(home: Home, path: Path, gguf: Path | None) -> str:
    known = envfile.read(path)
    url = os.environ.get(envfile.PREFIX + "LLAMA_URL") or known.get("LLAMA_URL")
    if url and gguf is None:
        return f"the server at {url}"
    given = gguf or (Path(known["MODEL"]) if known.get("MODEL") else None)
    if given is None:
        given = model.find(home) or model.fetch(home)
    given = given.expanduser().absolute()
    model.check(given)
    envfile.update(path, {"MODEL": str(given)}, HEADING)
    return given.stem
