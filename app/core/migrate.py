"""Bringing a database to the newest schema, from a checkout or from an installed wheel."""

from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

from alembic import command
from app.core.plain import CONNECT_ARGS

# A checkout keeps its migrations at the top; the wheel carries them inside this package.
_PLACES = (Path(__file__).parent / "migrations", Path(__file__).parents[2] / "alembic")
LOCK = 4_711_003
"""Advisory lock: two processes that migrate at once do it one after the other."""


def config(database_url: str) -> Config:
    """Return Alembic's configuration for a database, without any file."""
    cfg = Config()
    cfg.set_main_option("script_location", str(next(place for place in _PLACES if (place / "env.py").exists())))
    cfg.attributes["database_url"] = database_url
    return cfg


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring a database up to a revision; the newest unless said otherwise."""
    engine = create_engine(database_url, connect_args=CONNECT_ARGS)
    try:
        with engine.connect() as connection:
            connection.execute(text("select pg_advisory_lock(:lock)"), {"lock": LOCK})
            cfg = config(database_url)
            cfg.attributes["connection"] = connection
            command.upgrade(cfg, revision)
            connection.commit()
    finally:
        engine.dispose()


def downgrade(database_url: str, revision: str = "base") -> None:
    """Take a database back to a revision; to nothing unless said otherwise."""
    command.downgrade(config(database_url), revision)


def current(database_url: str) -> str | None:
    """Return the revision a database stands at."""
    engine = create_engine(database_url, connect_args=CONNECT_ARGS)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
