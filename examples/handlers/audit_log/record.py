"""One event as one row of the log: a pure function, and the text whose hash chains the rows.

Everything is text, times included, so that SQLite and PostgreSQL hash the same bytes.
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
"""What the first row has for its `prev_hash`."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of an event before it has a place in the log: who, what, which subject, when, and the payload."""

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
    """The last row's place and hash. Kept elsewhere it is an anchor: `verify` holds the log against it."""

    seq: int = 0
    hash: str = GENESIS

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def all_in(cls, text: str) -> Iterator["Head"]:
        """Every head in a text of any kind: an anchor file, the worker's log, a mail."""
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
    """The table's row of a record in its place after the last one: `seq` counts from 1 without gaps."""
    row = {"seq": after.seq + 1, **asdict(record), "recorded_at": recorded_at, "prev_hash": after.hash}
    return {**row, "hash": seal.hash(hashed_text(row))}


def hashed_text(row: Mapping[str, Any]) -> str:
    """What a row's hash is made of: canonical JSON of every column, the payload by its own digest."""
    return json.dumps([row[name] for name in _HASHED], separators=(",", ":"))


_RECORD = tuple(Record.__dataclass_fields__)
_HASHED = ("seq", *(name for name in _RECORD if name != "payload"), "recorded_at", "prev_hash")
TEXTS = (*_RECORD, "recorded_at", "prev_hash", "hash")
"""Every column but `seq`, in the table's order."""


def stamp(time: datetime) -> str:
    """UTC with microseconds always, so that text sorts as time does."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


@overload
def _text(text: str) -> str: ...
@overload
def _text(text: None) -> None: ...
def _text(text: str | None) -> str | None:
    """Text that both databases can hold: halves of surrogate pairs and NUL, which JSON may name, are spelled out."""
    if text is None:
        return None
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\u0000")
