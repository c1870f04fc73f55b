"""structlog for every process, to stderr: readable on a terminal, JSON elsewhere. stdout is for the commands' output.

All output of a process goes through a `LogBuffer`: log lines of structlog and of the standard library, warnings, and
what a handler prints. So writing never waits and never raises.

No payload, token or signed URL is ever passed to a logger; libraries that log whole URLs get a higher level here.
"""

import atexit
import io
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from receiver import visible
from receiver.logs.buffer import LogBuffer

FLUSH = 1.0
"""Most seconds that a process waits at its end for its last lines to be written."""
_LIBRARY_LEVELS = {
    "httpx2": logging.WARNING,  # logs every URL, and a Teams URL is a credential
    "httpcore2": logging.WARNING,
    "arq": logging.WARNING,  # logs every argument, and one is a payload
    "uvicorn.error": logging.WARNING,  # repeats "receiver listening" in three lines
    "uvicorn.access": logging.CRITICAL,  # logs every path, and the path holds the token
}
_buffers: list[LogBuffer] = []


def configure(log_format: str, log_level: str, process: str) -> None:
    """Set up structlog, and the standard library's logging with it, for one process (`receiver`, `worker`, …)."""
    pretty = log_format == "console" or (log_format == "auto" and sys.stderr is not None and sys.stderr.isatty())
    level = getattr(logging, log_level.upper())
    shared: list[Processor] = [
        lambda _logger, _method, line: {"process": process, **line},
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        visible.in_log,
    ]
    # A plain traceback: structlog's default on a terminal shows local variables, which may hold payloads.
    console = structlog.dev.ConsoleRenderer(pad_event_to=28, exception_formatter=structlog.dev.plain_traceback)
    last: Processor = console if pretty else structlog.processors.JSONRenderer()
    render = _Renderer([*shared, last])
    buffer = _take_over(render)
    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Logger(buffer),
        cache_logger_on_first_use=True,
    )

    handler = _Handler(buffer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    logging.captureWarnings(capture=True)
    for name, least in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(least)


def dropped() -> int:
    """Lines that this process has dropped because they could not be written."""
    return sum(buffer.dropped for buffer in _buffers)


def flush() -> None:
    """Wait until everything is written, at most `FLUSH` seconds."""
    for buffer in _buffers:
        buffer.flush(FLUSH / len(_buffers))


def _take_over(render: "_Renderer") -> LogBuffer:
    """Put a buffer behind both stdout and stderr; returns that of stderr."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)  # None if the process was started without it
        buffer = LogBuffer(os.open(os.devnull, os.O_WRONLY) if stream is None else stream.fileno(), render.missing)
        _buffers.append(buffer)
        setattr(sys, name, io.TextIOWrapper(_Raw(buffer), "utf-8", "backslashreplace", line_buffering=True))
    atexit.register(flush)
    return buffer


class _Renderer:
    """The only structlog processor: runs all others and encodes their result. It never raises."""

    def __init__(self, processors: Sequence[Processor]) -> None:
        self._processors = processors

    def __call__(self, logger: Any, method: str, line: EventDict) -> bytes:
        text: Any = line
        try:
            for process in self._processors:
                text = process(logger, method, text)
        except structlog.DropEvent:
            raise
        except Exception as error:  # noqa: BLE001 - a value's repr may raise anything
            text = _not_shown(line.get("event"), error)
        return _encoded(text)

    def missing(self, count: int) -> bytes:
        """The line that says how many lines were dropped."""
        return self(None, "warning", {"event": f"{count} log lines were dropped", "dropped": count})


class _Logger:
    """The logger below structlog's bound loggers: writes rendered lines to the buffer."""

    def __init__(self, buffer: LogBuffer) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = buffer.write


class _Handler(logging.Handler):
    """Writes records of the standard library's logging to the same buffer."""

    def __init__(self, buffer: LogBuffer) -> None:
        super().__init__()
        self._buffer = buffer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - wrong arguments for the message, or a repr that raises
            text = _not_shown(record.name, error)
        self._buffer.write(_encoded(text))


class _Raw(io.RawIOBase):
    """The raw stream below stdout and stderr: writes printed text to the buffer."""

    def __init__(self, buffer: LogBuffer) -> None:
        super().__init__()
        self._buffer = buffer

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._buffer.descriptor

    def isatty(self) -> bool:
        return os.isatty(self._buffer.descriptor)

    def write(self, text: Any) -> int:
        self._buffer.write(bytes(text))
        return len(text)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _not_shown(what: object, error: Exception) -> str:
    about = what[:200] if isinstance(what, str) else ""
    return json.dumps({"event": "a log line could not be shown", "line": about, "error": type(error).__name__})
