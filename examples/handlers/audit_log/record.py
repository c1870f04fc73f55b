"""One event as one row of the log: a pure function, and the hash that chains the rows.

Everything is text, times included, so that SQLite and PostgreSQL hash the same bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any, overload

from receiver import events
from worker import Event

MASKED = "***"
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
class Row:
    """A record in its place: `seq` counts from 1 without gaps; `hash` covers it all and the row before."""

    seq: int
    record: Record
    recorded_at: str
    prev_hash: str
    hash: str

    def columns(self) -> dict[str, Any]:
        """The row as the table has it, in the table's order."""
        record = {name: getattr(self.record, name) for name in Record.__dataclass_fields__}
        return {
            "seq": self.seq,
            **record,
            "recorded_at": self.recorded_at,
            "prev_hash": self.prev_hash,
            "hash": self.hash,
        }


def of_event(event: Event, key: str, received_at: datetime, mask: Iterable[str] = ()) -> Record:
    """The record of an event, with the values at the `mask` paths hidden before anything is taken from it.

    The payload is the text exactly as received, unless something in it is masked.
    """
    payload = masked(event.payload, mask)
    _, subject_id = events.subject_of(payload, event.type)
    actor = events.first_text(payload, ("actor.id", "actor.name", "actor"))
    text = event.raw if payload == event.payload else _text(json.dumps(payload, ensure_ascii=False))
    return Record(
        event_key=_text(key),
        event_id=_text(event.id),
        event_type=_text(event.type),
        occurred_at=event.occurred_at.isoformat() if event.occurred_at else None,
        received_at=stamp(received_at),
        actor=_text(events.identifier(actor) if actor else None),
        subject_type=event.subject.kind if event.subject else None,
        subject_id=_text(subject_id),
        payload=text,
        payload_sha256=sha256(text),
    )


def chained(record: Record, seq: int, prev_hash: str, recorded_at: str) -> Row:
    """The record in its place after the row whose hash is `prev_hash`."""
    return Row(seq, record, recorded_at, prev_hash, row_hash(seq, astuple(record), recorded_at, prev_hash))


def row_hash(seq: int, record: tuple[Any, ...], recorded_at: str, prev_hash: str) -> str:
    """SHA-256 over the canonical JSON of the row; the payload takes part by its own digest, the record's last field."""
    *fields, _payload, payload_sha256 = record
    return sha256(json.dumps([seq, *fields, payload_sha256, recorded_at, prev_hash], separators=(",", ":")))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def stamp(time: datetime) -> str:
    """UTC with microseconds always, so that text sorts as time does."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def masked(payload: Any, paths: Iterable[str]) -> Any:
    """A copy of the payload with the values at the dotted paths replaced; `*` is every item of a list or object."""
    for path in paths:
        payload = _masked(payload, path.split("."))
    return payload


def _masked(value: Any, steps: list[str]) -> Any:
    if not steps:
        return value if value is None else MASKED
    step, rest = steps[0], steps[1:]
    if isinstance(value, list) and step == "*":
        return [_masked(item, rest) for item in value]
    if isinstance(value, Mapping):
        return {name: _masked(item, rest) if step in {"*", name} else item for name, item in value.items()}
    return value


@overload
def _text(text: str) -> str: ...
@overload
def _text(text: None) -> None: ...
def _text(text: str | None) -> str | None:
    """Text that both databases can hold: halves of surrogate pairs and NUL, which JSON may name, are spelled out."""
    if text is None:
        return None
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\u0000")
