"""The engine's settings, as the node reads them from its environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Loading is bounded by the disk: a minute to start with and a second for each 100 MB read.
START_SECONDS = 60.0
START_BYTES_PER_SECOND = 100_000_000


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What to run and how; `ctx_size` is in tokens and *per slot*."""

    node: str
    run_dir: Path
    log_path: Path
    model: Path | None = None
    model_name: str = ""
    slots: int = 2
    ctx_size: int = 4096
    #: Layers put on the GPU; None: all of them where there is a GPU, else none.
    ngl: int | None = None
    #: Threads that compute; None: llama.cpp's own choice with a GPU, else one core less than there are.
    threads: int | None = None
    #: A server that is already running; then nothing is started here.
    llama_url: str = ""
    llama_api_key: str = ""
    #: The llama-server to run; None: the one on PATH, else the xllamacpp child.
    llama_server: Path | None = None
    #: Silence between two tokens that counts as a hang; reading a prompt may stay silent for longer.
    hang_seconds: float = 60.0
    prompt_hang_seconds: float = 180.0
    #: How long loading may take; None: by the size of the model.
    start_seconds: float | None = None

    def start_limit(self) -> float:
        """Seconds that a start may take before it counts as failed."""
        if self.start_seconds is not None:
            return self.start_seconds
        size = self.model.stat().st_size if self.model is not None and self.model.is_file() else 0
        return START_SECONDS + size / START_BYTES_PER_SECOND

    def public_name(self) -> str:
        """The model's name as people see it."""
        return self.model_name or (self.model.stem if self.model is not None else "default")
