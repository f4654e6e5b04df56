"""The models that nodes serve, as programs ask for them by name."""

import asyncio
from typing import Final

from fastapi import APIRouter

from app.services import nodes
from app.web.openai_answers import ModelAnswer, ModelsAnswer
from app.web.openai_deps import REFUSALS, Reader
from app.web.openai_errors import ModelNotFound
from app.wire.errors import Unavailable

router = APIRouter(prefix="/v1", tags=["openai"], responses=REFUSALS)

ANY: Final = "default"
"""Asks for whichever model there is."""
NOBODY: Final = "No node is here to answer right now. Nothing was kept; try again in a moment."


class NoNode(Unavailable):
    """No node serves any model."""

    code = "no_node"
    message = NOBODY
    retry_seconds = 10


def served() -> list[str]:
    """Return the names of the models that can be asked for now."""
    return sorted({node.model for node in nodes.listed() if node.model and node.state == "ready"})


async def asked_for(name: str) -> str:
    """Return the model that a name means; raise ModelNotFound or NoNode."""
    known = await asyncio.to_thread(served)
    if not known:
        raise NoNode
    if name == ANY:
        return known[0]
    if name not in known:
        raise ModelNotFound(name, known)
    return name


@router.get("/models")
async def models(_: Reader) -> ModelsAnswer:
    """Return the models that nodes serve right now."""
    return ModelsAnswer(data=[ModelAnswer(id=name) for name in await asyncio.to_thread(served)])


@router.get("/models/{model:path}")
async def model(model: str, _: Reader) -> ModelAnswer:
    """Return one model."""
    return ModelAnswer(id=await asked_for(model))
