"""structlog for every process, to stderr: readable on a terminal, JSON elsewhere. stdout is for the commands' output.

All output of a server goes through a `LogBuffer`: log lines of structlog and of the standard library, warnings, errors
that end a process or a thread, and what a handler prints. So writing never waits and never raises. The stdout of a
command does not: what it reports must not be dropped because its reader is slow or the disk is full.

No payload, token or signed URL is ever passed to a logger; libraries that log whole URLs get a higher level here.
Of an error that nobody expected only types and places are written (`tracebacks.py`), of a library's message the first
line: asyncio's others hold the `repr` of a task and of its error.
"""

import atexit
import io
import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict

from receiver.logs.buffer import LogBuffer
from receiver.logs.lines import Lines, not_shown

FLUSH = 1.0
"""Most seconds that a process waits at its end for its last lines to be written."""
_LIBRARY_LEVELS = {
    "httpx2": logging.WARNING,  # logs every URL, and a Teams URL is a credential
    "httpcore2": logging.WARNING,
    "arq": logging.WARNING,  # logs every argument, and one is a payload
    "uvicorn.access": logging.CRITICAL,  # logs every path, and the path holds the token
}
_LEVELS = [(getattr(logging, name.upper()), name) for name in ("critical", "error", "warning", "info")]
_buffers: list[LogBuffer] = []
OF_COMMAND = ("stderr",)
"""Of a process whose stdout is its report."""


def configure(log_format: str, log_level: str, process: str, *, streams: Sequence[str] = ("stdout", "stderr")) -> None:
    """Set up structlog, and the standard library's logging with it, for one process (`receiver`, `worker`, …).

    What is printed to one of `streams` is written by the buffer; a command takes `OF_COMMAND`.
    """
    is_pretty = log_format == "console" or (log_format == "auto" and sys.stderr is not None and sys.stderr.isatty())
    level = getattr(logging, log_level.upper())
    lines = Lines(process, is_pretty=is_pretty)
    buffer = _take_over(lines, streams)
    structlog.configure(
        processors=[lines],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Logger(buffer),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Handler(lines, buffer)], level=max(level, logging.INFO), force=True)
    logging.captureWarnings(capture=True)
    # uvicorn says in seven lines that it starts and stops; "receiver listening" and "receiver stopped" do in two.
    quiet = {"uvicorn.error": logging.INFO if level == logging.DEBUG else logging.WARNING}
    for name, least in (_LIBRARY_LEVELS | quiet).items():
        logging.getLogger(name).setLevel(least)
    _log_what_python_prints()


def dropped() -> int:
    """Lines that this process has dropped because they could not be written."""
    return sum(buffer.dropped for buffer in _buffers)


def flush() -> None:
    """Wait until everything is written, at most `FLUSH` seconds."""
    for buffer in _buffers:
        buffer.flush(FLUSH / len(_buffers))


def _take_over(lines: Lines, streams: Sequence[str]) -> LogBuffer:
    """Put a buffer behind each of these streams; returns that of the last, stderr."""

    def missing(count: int) -> bytes:
        return lines(None, "warning", {"event": f"{count} log lines were dropped", "dropped": count})

    for name in streams:
        stream: TextIO | None = getattr(sys, name)  # None if the process was started without it
        buffer = LogBuffer(os.open(os.devnull, os.O_WRONLY) if stream is None else stream.fileno(), missing)
        _buffers.append(buffer)
        setattr(sys, name, io.TextIOWrapper(_Raw(buffer), "utf-8", "backslashreplace", line_buffering=True))
    atexit.register(flush)
    return buffer


def _log_what_python_prints() -> None:
    """Log the errors that Python would print to stderr with their texts: of the process, a thread, a finalizer."""
    log = structlog.get_logger()

    def of_process(_: object, error: BaseException, __: object) -> None:
        log.critical("the process ended by an error", exc_info=error)

    def of_thread(given: threading.ExceptHookArgs) -> None:
        if not isinstance(given.exc_value, SystemExit):
            log.error("a thread ended by an error", thread=getattr(given.thread, "name", ""), exc_info=given.exc_value)

    def of_finalizer(given: "sys.UnraisableHookArgs") -> None:
        log.error("an error was ignored", of=type(given.object).__name__, exc_info=given.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_process, of_thread, of_finalizer


class _Logger:
    """The logger below structlog's bound loggers: writes rendered lines to the buffer."""

    def __init__(self, buffer: LogBuffer) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = buffer.write


class _Handler(logging.Handler):
    """Writes records of the standard library's logging in the same form, `logger` for their source."""

    def __init__(self, lines: Lines, buffer: LogBuffer) -> None:
        super().__init__()
        self._lines, self._buffer = lines, buffer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = record.getMessage().partition("\n")[0]
        except Exception as error:  # noqa: BLE001 - wrong arguments for the message, or a repr that raises
            self._buffer.write(not_shown(record.name, error))
            return
        level = next((name for least, name in _LEVELS if record.levelno >= least), "debug")
        line: EventDict = {"event": said, "logger": record.name}
        if record.exc_info:
            line["exc_info"] = record.exc_info
        self._buffer.write(self._lines(None, level, line))


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
