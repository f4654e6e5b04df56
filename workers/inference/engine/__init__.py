"""llama.cpp as a supervised subprocess: started, watched, asked for replies, never outliving the node."""

from workers.inference.engine.chunks import Chunk, End, Progress, Text, Usage
from workers.inference.engine.engine import Engine, Health
from workers.inference.engine.errors import (
    BadParameter,
    EngineCrashed,
    EngineDied,
    EngineError,
    EngineHung,
    EngineMisconfigured,
    EngineNotReady,
    EngineRefused,
    EngineUnreachable,
    ModelUnusable,
    PromptTooLong,
)
from workers.inference.engine.request import GenerateRequest, Message, Sampling
from workers.inference.engine.settings import EngineSettings
from workers.inference.engine.supervisor import EngineState
from workers.inference.engine.trim import Fitted

__all__ = [
    "BadParameter",
    "Chunk",
    "End",
    "Engine",
    "EngineCrashed",
    "EngineDied",
    "EngineError",
    "EngineHung",
    "EngineMisconfigured",
    "EngineNotReady",
    "EngineRefused",
    "EngineSettings",
    "EngineState",
    "EngineUnreachable",
    "Fitted",
    "GenerateRequest",
    "Health",
    "Message",
    "ModelUnusable",
    "Progress",
    "PromptTooLong",
    "Sampling",
    "Text",
    "Usage",
]
