"""Runs the migrations, on the connection it is given or on one of its own."""

from sqlalchemy import create_engine, pool

from alembic import context
from app.core.config import settings
from app.core.models import Base

config = context.config


def _run(connection: object) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)  # type: ignore[arg-type]
    with context.begin_transaction():
        context.run_migrations()


given = config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    url = config.attributes.get("database_url") or settings().database_url.get_secret_value()
    with create_engine(url, poolclass=pool.NullPool).connect() as own:
        _run(own)
