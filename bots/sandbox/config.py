"""How a sandbox is set up: limits, bots, people; from a JSON file, the environment or a test."""

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from bots.sandbox import permissions as may

SERVER_BOT_PERMISSIONS: Final = (
    may.MANAGE_CHANNELS
    | may.MANAGE_ROLES
    | may.MANAGE_MESSAGES
    | may.MANAGE_THREADS
    | may.MENTION_EVERYONE
    | may.EVERYONE
)
CLIENT_BOT_PERMISSIONS: Final = (
    may.VIEW_CHANNEL | may.SEND_MESSAGES | may.READ_MESSAGE_HISTORY | may.ATTACH_FILES | may.EMBED_LINKS
)


class Secrets(BaseSettings):
    """Tokens that stand in the environment rather than in a file."""

    model_config = SettingsConfigDict(env_prefix="MEATLIZARD_")

    sandbox_control_token: SecretStr | None = None
    sandbox_server_bot_token: SecretStr | None = None
    sandbox_client_bot_token: SecretStr | None = None


class Bot(BaseModel):
    """An application with its bot, made at the first start."""

    model_config = ConfigDict(extra="forbid")

    name: str
    token: str | None = None
    secret: str | None = None
    intents: list[Literal["members", "presences", "message_content"]] = []
    """The privileged intents switched on in the portal."""
    permissions: int = CLIENT_BOT_PERMISSIONS
    """What its role in the guild may do."""
    redirects: list[str] = []
    """Where OAuth2 may lead back to; "*" at the end stands for anything."""


def _bots() -> list[Bot]:
    server = Bot(
        name="Server-Bot",
        intents=["members", "message_content"],
        permissions=SERVER_BOT_PERMISSIONS,
        redirects=["http://127.0.0.1:*", "http://localhost:*"],
    )
    return [server, Bot(name="Client-Bot")]


class Config(BaseModel):
    """Everything that can be chosen; times in seconds."""

    model_config = ConfigDict(extra="forbid")

    host: str = "127.0.0.1"
    port: int = 0
    url: str | None = None
    """How others reach it, where that is not http://host:port."""
    state: Path | None = None
    limits: Literal["discord", "off"] = "discord"
    buckets: dict[str, tuple[int, float]] = {}
    """Rate limits that differ from ratelimits.BUCKETS: requests and seconds, by the bucket's name."""
    control_token: str | None = None
    guild: str = "MeatLizard"
    owner: str = "owner"
    members: list[str] = ["ada", "bob", "cy"]
    bots: list[Bot] = []
    heartbeat_seconds: float = 41.25
    resume_seconds: float = 60.0
    """How long a lost session can be resumed; Discord does not say, bots have seen 45 to 60 s."""
    identify_seconds: float = 5.0
    """Window of max_concurrency identifies (docs: events/gateway, Rate Limiting)."""
    identify_limit: int = 1000
    """Identifies in 24 hours, after which the token is reset (docs: events/gateway, Identifying)."""

    def prepared(self) -> "Config":
        """The same with the two bots, and with what the environment says."""
        secrets = Secrets()
        bots = [one.model_copy() for one in self.bots or _bots()]
        for one, token in zip(bots, (secrets.sandbox_server_bot_token, secrets.sandbox_client_bot_token), strict=False):
            if token is not None:
                one.token = token.get_secret_value()
        control = (
            secrets.sandbox_control_token.get_secret_value() if secrets.sandbox_control_token else self.control_token
        )
        return self.model_copy(update={"bots": bots, "control_token": control})
