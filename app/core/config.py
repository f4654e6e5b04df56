"""The platform's settings: `MEATLIZARD_*` from the environment, else from `meatlizard.env` in the home folder."""

import os
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.wire.discord import API as DISCORD_API
from app.wire.envelope import Ring

PREFIX = "MEATLIZARD_"
FILE_NAME = "meatlizard.env"
DISCORD_FILE = Path("run", "discord.env")
"""Where `up` says which Discord this start has found; written anew at each."""


def home() -> Path:
    """Return the folder that holds a stack's state: `MEATLIZARD_HOME`, else `~/.meatlizard`."""
    return Path(os.environ.get(f"{PREFIX}HOME") or Path.home() / ".meatlizard").expanduser().absolute()


class Settings(BaseSettings):
    """What web, worker, beat, Server-Bot and Flower need; secrets hide in its repr."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file_encoding="utf-8", extra="ignore", frozen=True)

    database_url: SecretStr
    redis_url: SecretStr
    broker_url: SecretStr | None = None
    """Celery's broker; the same Redis unless said otherwise."""
    s3_endpoint: str = ""
    s3_access_key: str = ""
    s3_secret_key: SecretStr = SecretStr("")
    s3_bucket: str = "meatlizard"
    s3_region: str = "us-east-1"
    keys: SecretStr
    """The master key ring, newest first."""

    session_idle_days: int = Field(7, ge=0)
    """Days without a new prompt after which a session's transcript goes to the object store; 0 for never."""
    transcript_days: int = Field(0, ge=0)
    """Days a transcript is kept in the object store; 0 for as long as its session."""
    backup_schedule: str = "15 3 * * *"
    """When backups are taken, in cron's form (UTC); empty for never."""
    backup_keep_days: int = Field(7, ge=1)
    backup_keep_weeks: int = Field(5, ge=0)
    backup_keep_months: int = Field(12, ge=0)
    """Of how many days, weeks and months the newest backup is kept."""

    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str = ""
    """How people reach the page, when a proxy stands before it; decides which Origin and Host are believed."""
    guests: Literal["off", "loopback"] = "off"
    """Whether someone on this very machine is let in without an account."""
    guest_keep_hours: int = Field(24, ge=1)
    """Hours without a word after which a guest is deleted whose logins have all ended."""
    proxies: str = ""
    """Addresses of the proxies before the web process, comma-separated: their word on where a request came from counts."""
    sign_up: Literal["invite", "open", "off"] = "invite"
    """Who may make an account by themselves."""
    discord_client_id: str = ""
    """Of the application in Discord; with its secret, people can sign in with Discord."""
    discord_client_secret: SecretStr = SecretStr("")
    discord_sign_in: Literal["guild", "anyone"] = "guild"
    """Who may sign in with Discord: members of the guild, or everybody there."""
    oidc_issuer: str = ""
    """Address of an OpenID Connect provider; with the two below, people can sign in with it."""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_name: str = "single sign-on"
    """What the provider is called on the page."""
    oidc_people: Literal["linked", "anyone"] = "linked"
    """Whom the provider lets in: those who linked their account or bring an invitation, or whoever it knows."""
    flower_port: int = 5555
    flower_url: str = ""
    """Where the page reaches Flower, when that runs on another machine or in a container of its own."""
    flower_user: str = "admin"
    flower_password: SecretStr = SecretStr("")

    discord_token: SecretStr = SecretStr("")
    """The Server-Bot's; without one there is no Discord, and everything else works."""
    discord_guild: int | None = None
    """Id of the server in Discord in which the bots meet."""
    discord_api: str = DISCORD_API
    discord_node_tokens: SecretStr = SecretStr("")
    """For `up`: the tokens of its nodes' Client-Bots, comma-separated, in the order of the nodes."""
    sandbox: Literal["on", "off"] = "on"
    """For `up`: whether a local Discord stands in where none is named."""
    discord_roles: str = ""
    """Which roles of the guild stand for which of ours: `123=admin,456=member`, by the roles' ids."""
    discord_strangers: Literal["member", "refused"] = "member"
    """What somebody in the guild is who has no linked account and none of those roles."""
    discord_content: bool = False
    """Whether the message content intent is switched on for the bot: then each message in a chat thread is a turn."""
    discord_owner_sees: bool = False
    """Whether a session's owner sees its channel, once their accounts are linked; what stands there is sealed."""

    lane: Literal["auto", "queue", "discord"] = "auto"
    system_prompt: str = "You are a helpful assistant."
    temperature: float = Field(0.7, ge=0, le=2)
    top_p: float = Field(0.95, gt=0, le=1)
    repeat_penalty: float = Field(1.1, ge=0.5, le=2)
    """Over 1, what was said is said again less readily; small models go in circles without it."""
    max_tokens: int = Field(1024, ge=1, le=131_072)
    """Longest reply, in tokens."""
    prompt_limit: int = Field(32_000, ge=1)
    """Longest prompt, in characters."""
    waiting_limit: int = Field(50, ge=1)
    """Turns one person may have waiting."""
    running_limit: int = Field(0, ge=0)
    """Turns of one person that may run at once; 0: as many as there are slots."""
    shares: dict[str, dict[str, int]] = {}
    """The same by role, and its weight in the queue, where it is not 1."""
    login_days: int = Field(30, ge=1)
    metrics_token: SecretStr = SecretStr("")
    """With it Prometheus may read `/metrics` from another machine."""
    metrics_days: int = Field(90, ge=2)
    """Days that the figures of single turns are kept; their sums stay longer."""
    api_keep_hours: int = Field(24, ge=1)
    """How long what came in by `/v1` is kept after its last turn."""
    cors_origins: str = ""
    """Pages of other sites that may use `/v1` with a token, apart by commas; none unless said."""
    log_level: str = "INFO"
    log_format: Literal["auto", "terminal", "json"] = "auto"
    """How log lines look; `auto`: words in a terminal, JSON elsewhere."""
    instance: str = ""
    """Which start of a stack this process belongs to; `up` says it, and /health repeats it."""

    @field_validator("keys")
    @classmethod
    def _keys_parse(cls, value: SecretStr) -> SecretStr:
        Ring.parse(value.get_secret_value())
        return value

    @field_validator("discord_roles")
    @classmethod
    def _roles_parse(cls, value: str) -> str:
        _roles(value)
        return value

    @property
    def roles_of_guild(self) -> dict[int, str]:
        """Our role for each of the guild's roles, by its id."""
        return _roles(self.discord_roles)

    @field_validator("shares")
    @classmethod
    def _shares_known(cls, value: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        for role, share in value.items():
            if unknown := share.keys() - {"weight", "running", "waiting"}:
                raise ValueError(f"the share of {role!r} has {', '.join(sorted(unknown))}; it may have weight, running and waiting")
        return value

    @property
    def ring(self) -> Ring:
        """The master key ring."""
        return _ring(self.keys.get_secret_value())

    @property
    def discord(self) -> bool:
        """Whether there is a Discord to post into."""
        return bool(self.discord_token.get_secret_value() and self.discord_guild)

    @property
    def broker(self) -> str:
        """The broker's URL."""
        return (self.broker_url or self.redis_url).get_secret_value()


def _roles(value: str) -> dict[int, str]:
    found = {}
    for pair in filter(None, (part.strip() for part in value.split(","))):
        identity, _, role = (part.strip() for part in pair.partition("="))
        if not identity.isdecimal() or role not in ("admin", "member"):
            raise ValueError(f"{pair!r} is not ROLE-ID=admin or ROLE-ID=member; nobody becomes owner by a role in Discord")
        found[int(identity)] = role
    return found


@cache
def _ring(keys: str) -> Ring:
    return Ring.parse(keys)


@cache
def settings() -> Settings:
    """Return this process's settings, read once."""
    return Settings(_env_file=(home() / FILE_NAME, home() / DISCORD_FILE))  # type: ignore[call-arg]  # pydantic-settings' own keyword
