"""What can go wrong with the engine, each error carrying the plain sentence a person is shown.

EngineError
├── BadParameter         a request asks for something outside the allow-list
├── PromptTooLong        the last message alone does not fit the context
├── ModelUnusable        the model file is missing, not GGUF, or llama.cpp refuses it
├── EngineMisconfigured  slots or context came out other than asked, or nothing can run llama.cpp
├── EngineNotReady       still starting, restarting, stopped or degraded: try again
├── EngineUnreachable    the llama-server that MEATLIZARD_LLAMA_URL names does not answer
├── EngineRefused        the server answered with an error of its own
└── EngineDied           the reply was cut off
    ├── EngineCrashed    the process ended: crash, out of memory, killed
    └── EngineHung       no sign of life while a slot was busy
"""

from __future__ import annotations

from collections.abc import Sequence


class EngineError(Exception):
    """Base of all: `str(error)` is one line, `log` the engine's last lines (no prompts in them)."""

    #: Whether the same turn may succeed on another try or another node.
    retry = False

    def __init__(self, message: str, log: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log = tuple(log)

    def report(self) -> str:
        """The message and, below it, the engine's last log lines."""
        return "\n".join((str(self), *self.log))


class BadParameter(EngineError):
    """A request parameter is unknown or out of range."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"{name} {rule}")
        self.name = name


class PromptTooLong(EngineError):
    """The newest message does not fit, whatever is left out before it."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"This message is too long: {tokens} tokens, with room for {limit}. Shorten it.")
        self.tokens = tokens
        self.limit = limit


class ModelUnusable(EngineError):
    """The model file cannot be used; restarting does not help."""

    def __init__(self, path: object, why: str, log: Sequence[str] = ()) -> None:
        todo = "fetch it again or point MEATLIZARD_MODEL at another GGUF file"
        super().__init__(f"Model {path} {why}: {todo}.", log)


class EngineMisconfigured(EngineError):
    """A setting that this model or machine cannot meet; restarting does not help."""


class EngineNotReady(EngineError):
    """Nothing can be generated at this moment."""

    retry = True


class EngineUnreachable(EngineError):
    """A server that is not ours to start does not answer."""

    retry = True

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"No answer from {url} ({why}): start that server or change MEATLIZARD_LLAMA_URL.")


class EngineRefused(EngineError):
    """The server turned the request down."""

    def __init__(self, status: int, kind: str, detail: str = "", log: Sequence[str] = ()) -> None:
        super().__init__(f"llama.cpp refused the request (status {status}): {kind}", log)
        self.status = status
        #: What the server said. It may quote the prompt: show it to whoever asked, never log it.
        self.detail = detail
        self.retry = status >= 500


class EngineDied(EngineError):
    """The reply was cut off in the middle."""

    retry = True


class EngineCrashed(EngineDied):
    """The process ended under the request."""


class EngineHung(EngineDied):
    """Nothing came for too long although a slot was busy."""

    def __init__(self, seconds: float, log: Sequence[str] = ()) -> None:
        super().__init__(f"llama.cpp gave no sign of life for {seconds:.0f} s and is being restarted.", log)
