"""Renders a log line: JSON, or text for a terminal. The only structlog processor; records of logging go through it too.

A worker writes a line for each run of a handler. So the usual line, short texts and numbers, is checked and encoded in
one pass, which takes half the time of a chain of processors; any other takes the long way.
"""

import json
import sys
import time
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted  # the C function behind json.dumps
from math import isfinite
from typing import Any

import structlog
from structlog.typing import EventDict

from receiver import visible
from receiver.logs.tracebacks import trace

_OURS = {"timestamp", "level", "process", "event", "exception"}
"""Names of fields that this module writes."""
_LONGEST_NAME = 64


class Lines:
    """Renders the lines of one process. Never raises: a value's `repr` may raise anything."""

    def __init__(self, process: str, *, is_pretty: bool) -> None:
        # Plain tracebacks: structlog's default on a terminal shows local variables, which may hold payloads.
        plain = structlog.dev.plain_traceback
        console = structlog.dev.ConsoleRenderer(pad_event_to=28, exception_formatter=plain)
        self._console = console if is_pretty else None
        self._process, self._begin = process, f'"process": {quoted(process)}, "event": '
        self._second = (0, "")

    def __call__(self, _logger: object, level: str, line: EventDict) -> bytes:
        """The line's bytes; `level` is one of structlog's names."""
        event = line.pop("event", "")
        try:
            structlog.contextvars.merge_contextvars(None, level, line)
            text = "" if self._console else self._usual(level, event, line)
            text = text or self._any(level, event, line)
        except Exception as error:  # noqa: BLE001 - see above
            return not_shown(event, error)
        return text.encode("utf-8", "backslashreplace") + b"\n"

    def _usual(self, level: str, event: Any, line: EventDict) -> str:
        """JSON of a line that has only short, clean texts and numbers; "" for any other."""
        text = f'{{"timestamp": "{self._timestamp()}", "level": "{level}", {self._begin}'
        if not (type(event) is str and len(event) <= visible.LONGEST and event.isprintable()):
            return ""
        text += quoted(event)
        for name, value in line.items():
            kind = type(value)
            if kind is str and len(value) <= visible.LONGEST and value.isprintable():
                shown = quoted(value)
            elif kind is int or (kind is float and isfinite(value)):
                shown = repr(value)
            else:
                return ""
            if len(name) > _LONGEST_NAME or not (named := _named(name)):
                return ""
            text += named + shown
        return text + "}"

    def _any(self, level: str, event: Any, line: EventDict) -> str:
        if error := _error(line.pop("exc_info", None)):
            line["exception"] = trace(error)
        line.pop("stack_info", None)
        ours = {"timestamp": self._timestamp(), "level": level, "process": self._process, "event": event}
        fields = visible.in_log({**ours, **line, **ours})
        return str(self._console(None, level, fields)) if self._console else json.dumps(fields)

    def _timestamp(self) -> str:
        """Now, in UTC to the microsecond. The text of the second is kept for the lines that follow in it."""
        second, us = divmod(time.time_ns() // 1000, 1_000_000)
        known, text = self._second
        if second != known:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, text
        return f"{text}.{us:06d}Z"


def not_shown(what: object, error: Exception) -> bytes:
    """The line in place of one that could not be rendered."""
    about = what[:200] if isinstance(what, str) else ""
    line = {"event": "a log line could not be shown", "line": about, "error": type(error).__name__}
    return json.dumps(line).encode() + b"\n"


@lru_cache(maxsize=1000)
def _named(name: str) -> str:
    """`, "name": ` for a clean name that is not one of ours; "" for any other."""
    return f", {quoted(name)}: " if name.isprintable() and name not in _OURS else ""


def _error(given: Any) -> BaseException | None:
    """The error in `exc_info` as logging and structlog take it."""
    if isinstance(given, tuple):
        given = given[1]
    elif given is True:
        given = sys.exc_info()[1]
    return given if isinstance(given, BaseException) else None
