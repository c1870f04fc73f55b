"""structlog for every process: pretty on a terminal, JSON elsewhere, to stderr; stdout belongs to the commands.

No payload, token or signed URL is ever handed to a logger. Libraries that log whole URLs are turned down here.
"""

import logging
import sys

import structlog
from structlog.typing import Processor

from receiver import visible

_LOUD = {
    "httpx2": logging.WARNING,  # logs every URL, and a Teams URL is a credential
    "httpcore2": logging.WARNING,
    "arq": logging.WARNING,  # logs every argument, and ours is a payload
    "uvicorn.error": logging.WARNING,  # says in three lines what "receiver listening" says in one
    "uvicorn.access": logging.CRITICAL,  # logs every path, and ours holds the token
}


def configure(log_format: str, log_level: str, process: str) -> None:
    """Set up structlog, and the standard library's logging with it, for one process (`receiver`, `worker`, …)."""
    pretty = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    level = getattr(logging, log_level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        visible.in_log,
    ]
    # A plain traceback: the one that structlog draws on a terminal shows local variables, which hold payloads.
    console = structlog.dev.ConsoleRenderer(pad_event_to=28, exception_formatter=structlog.dev.plain_traceback)
    last: Processor = console if pretty else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    for name, least in _LOUD.items():
        logging.getLogger(name).setLevel(least)
