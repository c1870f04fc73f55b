"""Is the log what was written? Every row's hash, every link, every number, read once in flat memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from examples.handlers.audit_log.database import TABLE, Head
from examples.handlers.audit_log.record import GENESIS, Record, row_hash, sha256

_CHUNK = 5000
_RECORD = tuple(Record.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and the `seq` where it shows."""

    seq: int
    what: str


@dataclass(slots=True)
class Report:
    """What `verify` found: rows read, the last one, and everything wrong, in order."""

    rows: int = 0
    head: Head | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.problems


def rows(engine: Engine, *conditions: sa.ColumnElement[bool]) -> Iterator[sa.RowMapping]:
    """Every row that meets the conditions, in order, a chunk at a time: no lock is held and memory stays flat."""
    last = 0
    while True:
        query = sa.select(TABLE).where(TABLE.c.seq > last, *conditions).order_by(TABLE.c.seq).limit(_CHUNK)
        with engine.connect() as connection:
            chunk = connection.execute(query).mappings().all()
        yield from chunk
        if len(chunk) < _CHUNK:
            return
        last = chunk[-1]["seq"]


def verify(
    log: Iterable[Any], expect_head: Head | None = None, progress: Callable[[int], None] = lambda _rows: None
) -> Report:
    """Read the rows (mappings, in order of `seq`) and report all that does not hold.

    The chain alone cannot show that its last rows are gone: `expect_head` does, a head noted earlier.
    """
    report = Report()
    before = Head(0, GENESIS)
    expected_hash = None
    for row in log:
        report.problems += _problems(row, before)
        before = Head(row["seq"], row["hash"])
        if expect_head is not None and before.seq == expect_head.seq:
            expected_hash = before.hash
        report.rows += 1
        if report.rows % _CHUNK == 0:
            progress(report.rows)
    progress(report.rows)
    report.head = before if report.rows else None
    if expect_head is not None:
        report.problems += _against(expect_head, before, expected_hash)
    return report


def _problems(row: Any, before: Head) -> Iterator[Problem]:
    seq = row["seq"]
    if seq != before.seq + 1:
        missing = f"row {before.seq + 1} is" if seq == before.seq + 2 else f"rows {before.seq + 1} to {seq - 1} are"
        yield Problem(before.seq + 1, f"{missing} missing")
    elif row["prev_hash"] != before.hash:
        yield Problem(seq, f"row {seq} does not follow the row before it")
    if sha256(row["payload"]) != row["payload_sha256"]:
        yield Problem(seq, f"row {seq}'s payload was changed")
    elif row_hash(seq, tuple(row[name] for name in _RECORD), row["recorded_at"], row["prev_hash"]) != row["hash"]:
        yield Problem(seq, f"row {seq} was changed")


def _against(expected: Head, last: Head, found_hash: str | None) -> Iterator[Problem]:
    if last.seq < expected.seq:
        yield Problem(
            last.seq + 1, f"the tail is cut: the log ends at row {last.seq}, expected {expected.seq} at least"
        )
    elif found_hash is not None and found_hash != expected.hash:
        yield Problem(expected.seq, f"row {expected.seq} is not the one that was the head")
