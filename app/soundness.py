"""What `meatlizard audit verify` does and says."""

import json
import sys

from app import lasting


def say(as_json: bool) -> None:
    """Walk the audit trail, hold it against what backups noted of it, and print what was found; raise where it is not sound."""
    # Somebody waits: most of it is loading.
    lasting.spare()
    from app.core import objects
    from app.services import backup_store, chain, restore_notes
    from app.wire.errors import MeatLizardError

    heads: dict[int, str] = {}
    unread: list[str] = []
    unnoted: list[int] = []
    try:
        if objects.configured():
            notes, unnoted = restore_notes.of_the_trail()
            heads, unread = backup_store.audit_heads(notes)
    except MeatLizardError as error:
        sys.stderr.write(f"The backups' word of the trail could not be read: {error}\n")
    if unnoted:
        sys.stderr.write(
            "The trail tells of restores that no note sealed by this platform bears out: record "
            f"{', '.join(map(str, unnoted[-5:]))}. What was backed up before them must be in the trail all the same.\n"
        )
    if unread:
        sys.stderr.write(f"These backups do not open, and say nothing of the trail: {', '.join(unread[:5])}.\n")
    found = chain.verified(heads)
    if as_json:
        told = {"sound": found.sound, "records": found.records, "broken": found.broken, "head": found.head}
        print(json.dumps(told | {"backups": len(heads), "unnoted": unnoted}))
    elif found.sound:
        print(f"All {found.records} records are sound. The last one's hash is {found.head}.")
        print(f"Of the heads that backups noted, all {len(heads)} are in it." if heads else "No backup has noted a head of it yet.")
    if not found.sound:
        raise MeatLizardError(
            f"Record {found.broken} of the trail was changed, removed or put elsewhere. The {found.records} before it are "
            "sound; compare with a backup (`meatlizard backup list`)."
        )
