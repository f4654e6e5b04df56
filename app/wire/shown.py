"""What logs, Flower and events may show of a task's arguments: ids, numbers and names, and of all else its size."""

import re
from collections.abc import Sequence
from typing import Any, Final

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
"""An id, a node's name, a backup's: without a space in it, and shorter than any envelope."""


def arguments(values: Sequence[Any]) -> str:
    """Return a task's arguments as they may be shown."""
    return f"({', '.join(map(_shown, values))}{',' if len(values) == 1 else ''})"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value) if _NAME.fullmatch(value) else f"<{len(value)} characters>"
    if isinstance(value, bytes | list | tuple | dict):
        return f"<{len(value)} {'bytes' if isinstance(value, bytes) else 'entries'}>"
    return f"<{type(value).__name__}>"
