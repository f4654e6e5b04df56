"""All of a person's own as one file: every conversation as JSON Lines and as Markdown, the account, what the trail says of it."""

import tempfile
import zipfile
from datetime import datetime
from typing import IO, Any, Final
from uuid import UUID

import orjson
from sqlalchemy import or_, select

from app.core.db import transaction
from app.core.models import ApiToken, AuditRecord, DiscordLink, Identity, Session, User, now
from app.services import audit, logins, trail, transcript_lines, transcript_markdown, usage
from app.wire.errors import NotFound
from app.wire.states import Door

PEOPLES: Final = (Door.WEB.value, Door.DISCORD.value, Door.API.value)
"""The doors by which people come in under their own name."""
OF_PEOPLE: Final = ("user.%", "login%", "link%", "unlink", "token.new", "limit.set", "share.set")
"""What in the trail is done to somebody, rather than to a node or a thing that may be called the same."""
YEAR_HOURS: Final = 24 * 366
IN_MEMORY: Final = 8 << 20
"""Bytes; a larger file is made on the disk."""


def packed(user: str, actor: str, door: Door) -> IO[bytes]:
    """Return a ZIP file with all that is kept of a person, at its beginning; whoever is given it closes it."""
    with transaction() as tx:
        owner = tx.get(User, UUID(user))
        if owner is None:
            raise NotFound("There is no such account any more.")
        audit.record(tx, actor, door, "user.export", owner.name)
        account, own = _account(tx, owner), list(tx.scalars(select(Session.id).where(Session.user_id == owner.id)))
    file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the caller closes it
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("account.json", orjson.dumps(account, option=orjson.OPT_INDENT_2))
            for session in sorted(own):
                _conversation(archive, str(session))
            _trail(archive, owner.name, owner.created_at)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _account(tx: Any, owner: User) -> dict[str, Any]:
    tokens = tx.scalars(select(ApiToken).where(ApiToken.user_id == owner.id).order_by(ApiToken.created_at))
    link = tx.scalar(select(DiscordLink).where(DiscordLink.user_id == owner.id))
    elsewhere = tx.scalars(select(Identity).where(Identity.user_id == owner.id).order_by(Identity.provider))
    used = usage.of(str(owner.id), YEAR_HOURS)
    return {
        "name": owner.name,
        "role": owner.role,
        "created_at": owner.created_at.isoformat(),
        "taken_at": now().isoformat(),
        "discord": {"id": str(link.discord_id), "name": link.name} if link else None,
        "signed_in_with": [{"provider": one.provider, "subject": one.subject, "name": one.name} for one in elsewhere],
        "logins": [
            {"browser": one.device, "address": one.address, "by": one.how, "since": one.since.isoformat(), "seen": one.seen.isoformat()}
            for one in logins.listed(str(owner.id))
        ],
        "tokens": [{"name": one.name, "created_at": one.created_at.isoformat()} for one in tokens],
        "last_year": {"turns": used.turns, "prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens},
    }


def _conversation(archive: zipfile.ZipFile, session: str) -> None:
    try:
        with transcript_lines.reading(session) as (lines, _), archive.open(f"conversations/{session}.jsonl", "w") as out:
            for line in lines:
                out.write(orjson.dumps(line) + b"\n")
        with transcript_lines.reading(session) as (lines, _), archive.open(f"conversations/{session}.md", "w") as out:
            for piece in transcript_markdown.written(lines):
                out.write(piece.encode())
    except NotFound:
        return  # Deleted a moment ago, by its owner.


def _trail(archive: zipfile.ZipFile, name: str, since: datetime) -> None:
    # Nodes, bots and whoever did not get in stand in the trail too, under names that somebody's own may be like.
    did = (AuditRecord.actor == name) & AuditRecord.door.in_(PEOPLES) & AuditRecord.action.not_like("%.refused")
    about = AuditRecord.subject.in_((name, f"user:{name}")) & or_(*(AuditRecord.action.like(one) for one in OF_PEOPLE))
    # What was before is of somebody else, who bore the name and is gone.
    query = select(AuditRecord).where(did | about, AuditRecord.at >= since).order_by(AuditRecord.id)
    with transaction() as tx, archive.open("trail.jsonl", "w") as out:
        for row in tx.scalars(query.execution_options(yield_per=1000)):
            out.write(orjson.dumps(trail.shown(row)) + b"\n")
