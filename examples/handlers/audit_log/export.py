"""Rows as JSON Lines: `export` writes and `verify --file` reads them, so that an auditor needs only the file."""

import json
import operator
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from examples.handlers.audit_log.record import TEXTS
from worker import to_json


class NotExported(Exception):
    """A line of the file is not an exported row; the message has its number."""


def line(row: Mapping[str, Any]) -> bytes:
    """One row, also with values that only tampering can cause (a blob, bytes that are not text)."""
    return to_json(dict(row), indent=None).encode() + b"\n"


def rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of an export. Raises OSError, and `NotExported`."""
    with file.open("rb") as lines:
        for number, text in enumerate(lines, start=1):
            try:
                found = json.loads(text)
                row = {"seq": operator.index(found["seq"]), **{name: found[name] for name in TEXTS}}
            except (ValueError, TypeError, KeyError):
                raise NotExported(f"line {number} of {file} is not a row that `export` wrote") from None
            yield row
