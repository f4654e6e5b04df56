"""What each process loads to wait for work: what it does not need then is memory that the model does not have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from app import lasting

ROOT = Path(__file__).resolve().parents[2]
WORKER = "app.local.scratch workers.processes workers.storage workers.turns workers.metrics workers.upkeep"
NODE = "app.node workers.inference.process"

NOBODY = {"matplotlib", "numpy", "PIL", "boto3", "botocore", "alembic", "mako", "rich", "IPython", "authlib", "joserfc", "httpx", "zxcvbn", "typer"}
"""Plots, lists of passwords, the object store, migrations, colours, signing in elsewhere, and what reads a command line are
loaded where they are used."""
NO_PAGE = {"fastapi", "starlette", "uvicorn", "jinja2"}
NO_MARKDOWN = {"markdown_it", "nh3", "pygments"}
"""Only pages show text as HTML."""
NO_SERVICE = {"app.services", "limits", "argon2"} | NO_MARKDOWN
NO_BOT = {"discord", "aiohttp"}
LEFT_OUT = {
    "web": ("app.web.server app.web.main", NOBODY | NO_BOT | {"workers", "prometheus_client", "flower"}),
    "worker": (WORKER, NOBODY | NO_PAGE | NO_BOT | NO_MARKDOWN | {"prometheus_client", "flower"}),
    "beat": (
        "workers.beat workers.scheduler",
        NOBODY | NO_PAGE | NO_BOT | (NO_SERVICE - {"app.services"}) | {"workers.inbox", "app.services.turns", "sqlalchemy"},
    ),
    "flower": (
        "workers.monitor",
        # Its pages colour what they show.
        NOBODY | NO_PAGE | NO_BOT | (NO_SERVICE - {"pygments"}) | {"sqlalchemy", "psycopg2", "celery.bin.celery"},
    ),
    "server-bot": ("bots.server.process bots.server.tasks", NOBODY | NO_PAGE | NO_MARKDOWN | {"workers", "prometheus_client", "flower"}),
    # Discord is for a node that has a bot of its own there.
    "node": (NODE, NOBODY | NO_PAGE | NO_SERVICE | {"sqlalchemy", "psycopg2", "app.core", "discord"}),
    # A verb that does not stay, and is waited for.
    "status": (
        "app.local.status",
        NOBODY | NO_PAGE | NO_BOT | (NO_SERVICE - {"app.services"}) | {"sqlalchemy", "pydantic", "celery", "redis", "cryptography", "asyncio", "urllib.request"},
    ),
    # It speaks with the object store and PostgreSQL, and with nobody else.
    "audit verify": (
        "app.soundness app.services.chain app.services.backup_store app.core.s3_client",
        (NOBODY - {"boto3", "botocore"}) | NO_PAGE | NO_BOT | (NO_SERVICE - {"app.services"}) | {"sqlalchemy", "celery"},
    ),
    "sandbox": ("bots.sandbox.server", NOBODY | NO_PAGE | NO_SERVICE | {"sqlalchemy", "psycopg2", "celery", "redis", "discord"}),
}
"""By process: what its verb imports, and what must not come along."""
NEEDED = {"web": ("opentelemetry",), "flower": ("tornado",)}
"""What a process's own libraries need of what the others are spared: FastAPI of the one, Flower of the other."""
FIRST = "import sys; from app import cli, lasting, processes"


@pytest.mark.parametrize("process", LEFT_OUT)
def test_a_process_loads_no_more_than_it_needs(process: str, tmp_path: Path) -> None:
    modules, left_out = LEFT_OUT[process]
    needed = NEEDED.get(process, ())
    loads = f"lasting.spare(*{needed!r}); import {', '.join(modules.split())}"
    program = f"{FIRST}; {loads}; print(*(name for name, module in sys.modules.items() if module and not isinstance(module, lasting.Empty)))"
    given = {
        "HOME": str(tmp_path),
        "DATABASE_URL": "postgresql+psycopg2://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "KEYS": Fernet.generate_key().decode(),
    }
    environment = os.environ | {f"MEATLIZARD_{name}": value for name, value in given.items()}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    loaded = set(ran.stdout.split())
    assert {"app.cli", *modules.split()} <= loaded
    assert (left_out | set(lasting.EMPTY) | (set(lasting.UNUSED) - set(needed))) & loaded == set()
    assert set(needed) <= loaded
