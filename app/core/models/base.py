"""The tables' common ground: ids, times, and how constraints are named."""

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import DateTime, LargeBinary, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase
from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a UUIDv7: unique without asking anyone, and in the order of making."""
    return uuid7()


def now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """The tables' common ground; constraints get names so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {datetime: DateTime(timezone=True), dict[str, Any]: JSONB, bytes: LargeBinary}
