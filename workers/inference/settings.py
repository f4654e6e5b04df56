"""The node's settings: `MEATLIZARD_*` from the environment, else from the node's own file; no server secret is among them."""

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.wire.envelope import NodeKeys
from workers.inference.engine.settings import EngineSettings

PREFIX = "MEATLIZARD_"


def home() -> Path:
    """Return the folder that holds this machine's state: `MEATLIZARD_HOME`, else `~/.meatlizard`."""
    return Path(os.environ.get(f"{PREFIX}HOME") or Path.home() / ".meatlizard").expanduser().absolute()


class NodeSettings(BaseSettings):
    """What a node needs to know: its name, its keys, the broker, and how to run its engine."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file_encoding="utf-8", extra="ignore", frozen=True)

    node: str
    redis_url: SecretStr | None = None
    """The broker and the streams, as the node's own Redis user; unset, the node has the discord lane alone."""
    node_keys: SecretStr
    """The node's relay keys, as `node invite` printed them."""

    slots: int = Field(2, ge=1, le=512)
    """Turns at once."""
    ctx_size: int = Field(4096, ge=256)
    """Context of each slot, in tokens."""
    ngl: int | None = Field(None, ge=0)
    """Layers on the GPU; unset, all of them on a Mac with Metal and none without a GPU."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of llama.cpp; unset, one less than the cores where there is no GPU: its threads wait by spinning."""
    model: Path | None = None
    model_name: str = ""
    llama_url: str = ""
    llama_api_key: SecretStr = SecretStr("")
    llama_server: Path | None = None
    hang_seconds: float = Field(60, gt=0)
    prompt_hang_seconds: float = Field(180, gt=0)
    start_seconds: float | None = Field(None, gt=0)
    drain_seconds: float = Field(5, ge=0)
    """How long replies in flight may go on after SIGTERM before another node takes them over."""
    log_level: str = "INFO"
    log_format: Literal["auto", "terminal", "json"] = "auto"
    """How log lines look; `auto`: words in a terminal, JSON elsewhere."""

    @field_validator("node")
    @classmethod
    def _named_plainly(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", value):
            raise ValueError("a node's name is made of small letters, digits and dashes, 31 at most")
        return value

    @field_validator("node_keys")
    @classmethod
    def _keys_parse(cls, value: SecretStr) -> SecretStr:
        NodeKeys.parse(value.get_secret_value())
        return value

    @field_validator("redis_url", "ngl", "threads", "start_seconds", "model", "llama_server", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if value == "" else value

    @property
    def keys(self) -> NodeKeys:
        """The node's relay keys."""
        return NodeKeys.parse(self.node_keys.get_secret_value())

    def engine(self) -> EngineSettings:
        """Return what the engine needs of these."""
        return EngineSettings(
            node=self.node,
            run_dir=home() / "run",
            log_path=home() / "logs" / f"llama.cpp-{self.node}.log",
            model=self.model,
            model_name=self.model_name,
            slots=self.slots,
            ctx_size=self.ctx_size,
            ngl=self.ngl,
            threads=self.threads,
            llama_url=self.llama_url,
            llama_api_key=self.llama_api_key.get_secret_value(),
            llama_server=self.llama_server,
            hang_seconds=self.hang_seconds,
            prompt_hang_seconds=self.prompt_hang_seconds,
            start_seconds=self.start_seconds,
        )


def file(name: str) -> Path:
    """Return the settings file of the node `name`."""
    return home() / "nodes" / f"{name}.env"


def load(name: str) -> NodeSettings:
    """Read the settings of the node `name`."""
    os.environ.setdefault(f"{PREFIX}NODE", name)
    return NodeSettings(_env_file=file(name))  # type: ignore[call-arg]  # pydantic-settings' own
