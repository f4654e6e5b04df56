"""Structured logs: one line an event, coloured in a terminal, JSON elsewhere."""

import logging
import sys
from typing import Any

import structlog


def configure(process: str, level: str = "INFO", form: str = "auto") -> None:
    """Send structlog's and the standard library's records to stderr in one form, each with the process's name.

    `form` is `terminal` (coloured words), `json`, or `auto`: what suits where stderr leads.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _name, event: {"process": process, **event},
    ]
    terminal = form == "terminal" or (form == "auto" and sys.stderr.isatty())
    # Plain tracebacks: the pretty ones print local variables, prompts and keys among them.
    renderer: Any = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback) if terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if not terminal:
        last.append(structlog.processors.format_exc_info)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*last, renderer]),
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
