"""One event as one row of the log: pure functions for the row and for the text that is hashed.

All columns except `seq` are text, times included, so that SQLite and PostgreSQL hash the same bytes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, overload

from examples.handlers.audit_log.seal import HASH, Seal, sha256
from worker import Event, events

GENESIS = "0" * 64
"""The `prev_hash` of the first row."""


@dataclass(frozen=True, slots=True)
class Record:
    """An event before it has a row number: actor, type, subject, times and payload."""

    event_key: str
    event_id: str | None
    event_type: str
    occurred_at: str | None
    received_at: str
    actor: str | None
    subject_type: str | None
    subject_id: str | None
    payload: str
    payload_sha256: str


@dataclass(frozen=True, slots=True)
class Head:
    """The last row's number and hash. A copy kept elsewhere is an anchor, with which `verify` compares the log."""

    seq: int = 0
    hash: str = GENESIS

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def all_in(cls, text: str) -> Iterator["Head"]:
        """All heads in any text, such as an anchor file, a worker's log or a mail."""
        for found in re.finditer(rf"(?<!\d)(?<!hmac:)(\d{{1,18}}):({HASH})(?![0-9a-f])", text):
            yield cls(int(found[1]), found[2])


def of_event(event: Event, key: str, received_at: datetime) -> Record:
    """The record of an event; the payload is the text exactly as received."""
    kind = event.subject.kind if event.subject else None
    actor = events.first_text(event.payload, ("actor.id", "actor.name", "actor"))
    return Record(
        event_key=_text(key),
        event_id=_text(event.id),
        event_type=_text(event.type),
        occurred_at=event.occurred_at.isoformat() if event.occurred_at else None,
        received_at=stamp(received_at),
        actor=_text(events.identifier(actor) if actor else None),
        subject_type=kind,
        subject_id=_text(event.subject.id) if event.subject else None,
        payload=event.raw,
        payload_sha256=sha256(event.raw),
    )


def chained(record: Record, after: Head, recorded_at: str, seal: Seal) -> dict[str, Any]:
    """The table's row for a record, after the last one; `seq` counts from 1 without gaps."""
    row = {"seq": after.seq + 1, **asdict(record), "recorded_at": recorded_at, "prev_hash": after.hash}
    return {**row, "hash": seal.hash(hashed_text(row))}


def hashed_text(row: Mapping[str, Any]) -> str:
    """The text that is hashed: canonical JSON of every column, with the payload's digest in place of the payload."""
    return json.dumps([row[name] for name in _HASHED], separators=(",", ":"))


_RECORD = tuple(Record.__dataclass_fields__)
_HASHED = ("seq", *(name for name in _RECORD if name != "payload"), "recorded_at", "prev_hash")
TEXTS = (*_RECORD, "recorded_at", "prev_hash", "hash")
"""All columns but `seq`, in the table's order."""


def stamp(time: datetime) -> str:
    """A time in UTC, always with microseconds, so that texts sort by time."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


@overload
def _text(text: str) -> str: ...
@overload
def _text(text: None) -> None: ...
def _text(text: str | None) -> str | None:
    """Text that both databases can store: lone surrogates and NUL, which JSON allows, are escaped."""
    if text is None:
        return None
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\u0000")
