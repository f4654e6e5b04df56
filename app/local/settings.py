"""The stack's own settings: addresses, ports and secrets, made on the first run and remembered since."""

import os
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.local import envfile, ports
from app.local.errors import LocalError, PortTaken
from app.local.home import Home, write_private
from app.local.ports import Held

#: Bytes of randomness in each password: 32 cannot be guessed however fast one tries.
SECRET_BYTES = 32
BUCKET = "meatlizard"
DATABASE = "meatlizard"
#: A server that listens so is reached on loopback too.
ALL_ADDRESSES = ("0.0.0.0", "::", "localhost")  # noqa: S104 - recognised, never bound by us
#: The name our own processes have at PostgreSQL and Valkey.
ROLE = "platform"
#: The person who gets in first.
ADMIN = "admin"

HEADING = f"""\
Settings of this MeatLizard, written on the first `meatlizard up`. Keep this file private: it holds all keys.
Lose MEATLIZARD_KEYS and every message is lost, so keep a copy of the file where this machine is not.
Variables of the same name in the environment win over it. Restart after a change (`meatlizard down`, `up`).

May be added (see docs): {
    ", ".join(
        envfile.PREFIX + name for name in ("SYSTEM_PROMPT", "TEMPERATURE", "TOP_P", "MAX_TOKENS", "LANE", "PUBLIC_URL")
    )
}
"""

#: Settings that name servers, and belong to this stack alone: what the shell holds for another must not leak in.
OWNED = frozenset(
    {"DATABASE_URL", "REDIS_URL", "BROKER_URL", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET"}
    | {"KEYS", "FLOWER_PORT", "FLOWER_PASSWORD", "NODE", "NODE_KEYS", "HOME", "PORT", "GUARD", "INSTANCE"}
    # Found out anew at each start: a node must never take the Server-Bot's token for its own.
    | {"DISCORD_TOKEN", "DISCORD_GUILD", "DISCORD_API", "DISCORD_SERVER_BOT", "DISCORD_NODE_TOKENS"}
)

#: Settings of a node that the platform's file may hold for all nodes of `up`: people look for them there.
ENGINES = ("LLAMA_URL", "LLAMA_API_KEY", "MODEL_NAME")

#: glibc gives each thread a heap of its own and keeps what it freed. Our threads wait for the network: two heaps
#: serve them as well, and each process is some 10 MB smaller. Of where in a line an error lies Python keeps a table
#: for every instruction; the line will do. Said otherwise in the shell, that holds.
SPARING = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": str(128 * 1024), "PYTHONNODEBUGRANGES": "1"}


@dataclass(frozen=True)
class Settings:
    """What the settings file holds, and the parts of it the servers are started with."""

    values: dict[str, str]

    @property
    def database_url(self) -> str:
        """Where PostgreSQL is, as SQLAlchemy takes it."""
        return self.values["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        """Where Valkey is, with the platform's name and password."""
        return self.values["REDIS_URL"]

    @property
    def url(self) -> str:
        """Where a person's browser on this machine finds the page."""
        return f"http://{self.host}:{self.web_port}"

    @property
    def host(self) -> str:
        """Where to knock for the page: the address it listens on, or loopback when it listens on all."""
        given = _host(self.values)
        return ports.LOOPBACK if given in ALL_ADDRESSES else given

    @property
    def postgres_port(self) -> int:
        """PostgreSQL's port."""
        return _port(self.database_url)

    @property
    def redis_port(self) -> int:
        """Valkey's port."""
        return _port(self.redis_url)

    @property
    def s3_port(self) -> int:
        """The object store's port."""
        return _port(self.values["S3_ENDPOINT"])

    @property
    def web_port(self) -> int:
        """The page's port."""
        return int(self.values["PORT"])

    @property
    def flower_port(self) -> int:
        """Flower's port."""
        return int(self.values["FLOWER_PORT"])

    @property
    def database_password(self) -> str:
        """Our role's password at PostgreSQL."""
        return urlsplit(self.database_url).password or ""

    @property
    def redis_password(self) -> str:
        """Our user's password at Valkey."""
        return urlsplit(self.redis_url).password or ""

    @property
    def dsn(self) -> str:
        """The database's address as libpq takes it (SQLAlchemy's names the driver too)."""
        return self.database_url.replace("+psycopg2", "", 1)


def load(home: Home) -> Settings:
    """The settings as they stand; raises LocalError when the file lacks what a stack needs."""
    values = envfile.read(home.settings)
    missing = [key for key in ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT", "KEYS", "HOST", "PORT") if key not in values]
    if missing:
        lines = ", ".join(envfile.PREFIX + key for key in missing)
        raise LocalError(f"{home.settings} lacks {lines}: put the lines back, or move the folder away to begin anew")
    return Settings(values)


def prepare(home: Home, port: int | None, held: Held) -> Settings:
    """The settings for a start: secrets made once, every port taken in `held`. One asked for is had or refused."""
    known = load(home).values if home.exists() else _first()
    envfile.update(home.settings, known | _free_ports(known, port, held), HEADING)
    return load(home)


def admin_password(home: Home) -> str:
    """The first administrator's password, made once and kept in a file of its own."""
    if not home.admin_password.exists():
        # Typed by a person, once: 96 bits are plenty where each try costs an argon2 hash.
        write_private(home.admin_password, secrets.token_urlsafe(12) + "\n")
    return home.admin_password.read_text(encoding="utf-8").strip()


def environment(home: Home) -> dict[str, str]:
    """What the supervised processes inherit: this shell's variables, without another stack's servers."""
    kept = {key: value for key, value in os.environ.items() if key.removeprefix(envfile.PREFIX) not in OWNED}
    said = envfile.read(home.settings)
    ours = {envfile.PREFIX + name: said[name] for name in ENGINES if name in said}
    return SPARING | ours | kept | {envfile.PREFIX + "HOME": str(home.path)}


def _first() -> dict[str, str]:
    # Loaded here: `status` and `down` read settings and need no cryptography.
    from cryptography.fernet import Fernet

    return {
        "DATABASE_URL": f"postgresql+psycopg2://{ROLE}:{_secret()}@{ports.LOOPBACK}:0/{DATABASE}",
        "REDIS_URL": f"redis://{ROLE}:{_secret()}@{ports.LOOPBACK}:0/0",
        "S3_ENDPOINT": f"http://{ports.LOOPBACK}:0",
        "S3_ACCESS_KEY": secrets.token_hex(10),
        "S3_SECRET_KEY": _secret(),
        "S3_BUCKET": BUCKET,
        "KEYS": Fernet.generate_key().decode(),
        "HOST": ports.LOOPBACK,
        # Nobody can come from elsewhere: whoever sits at this machine may try it without an account.
        "GUESTS": "loopback",
        "FLOWER_PASSWORD": _secret(),
    }


def _free_ports(known: dict[str, str], asked: int | None, held: Held) -> dict[str, str]:
    """The settings that hold a port, each changed only where another program sits on the remembered one."""
    host = _host(known)
    if asked and not held.take(asked, host):
        raise PortTaken(asked)
    remembered = int(known.get("PORT", 0))
    web = asked or (remembered if remembered and held.take(remembered, host) else held.pick_web(host))
    fresh = {"PORT": str(web)}
    for key in ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT"):
        fresh[key] = _with_port(known[key], _same_or_other(_port(known[key]), held))
    fresh["FLOWER_PORT"] = str(_same_or_other(int(known.get("FLOWER_PORT", 0)), held))
    return fresh


def _same_or_other(port: int, held: Held) -> int:
    return port if port and held.take(port) else held.pick()


def _host(values: dict[str, str]) -> str:
    return os.environ.get(envfile.PREFIX + "HOST") or values["HOST"]


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    logins, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{logins}{at}{parts.hostname}:{port}").geturl()


def _secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)
