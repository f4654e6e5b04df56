"""The Client-Bot's settings: from the environment, else from the node's own file; without a token there are none."""

import os
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.wire.discord import API

PREFIX: Final = "MEATLIZARD_"
TOKEN: Final = f"{PREFIX}DISCORD_TOKEN"


class ClientSettings(BaseSettings):
    """How a node reaches Discord, and whom it listens to there."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file_encoding="utf-8", extra="ignore", frozen=True)

    discord_token: SecretStr
    """The token of the node's own bot."""
    discord_guild: int = Field(gt=0)
    """The id of the only guild it listens in."""
    discord_server_bot: int = Field(gt=0)
    """The user id of the only bot it listens to."""
    discord_api: str = API
    """Another address is a sandbox's."""


def load(file: Path) -> ClientSettings | None:
    """Read the settings; None where there is no token, and so no discord lane."""
    if not (os.environ.get(TOKEN) or dotenv_values(file).get(TOKEN)):
        return None
    return ClientSettings(_env_file=file)  # type: ignore[call-arg]  # pydantic-settings' own
