"""Is the log what was written? Every row's hash, every link, every number, read once in flat memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from examples.handlers.audit_log.database import Head
from examples.handlers.audit_log.record import GENESIS, Record, row_hash, sha256

MOST_PROBLEMS = 100  # listed; a log rewritten from its first row on has one for every row
_RECORD = tuple(Record.__dataclass_fields__)
_TEXTS = (*_RECORD, "recorded_at", "prev_hash", "hash")
_STEP = 5000  # rows between two signs of progress

LogRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and the `seq` where it shows."""

    seq: int
    what: str


@dataclass(slots=True)
class Report:
    """What was found: rows read, the last one, how much is wrong, and the first of it in order."""

    rows: int = 0
    head: Head | None = None
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return self.problem_count == 0

    def add(self, found: Iterable[Problem]) -> None:
        for problem in found:
            self.problem_count += 1
            if len(self.problems) < MOST_PROBLEMS:
                self.problems.append(problem)


def verify(
    log: Iterable[LogRow], expect_head: Head | None = None, progress: Callable[[int], None] = lambda _rows: None
) -> Report:
    """Read the rows, in order of `seq`, and report all that does not hold.

    The chain alone cannot show that its last rows are gone: `expect_head` does, a head noted earlier.
    """
    report = Report()
    before = Head(0, GENESIS)
    found_hash = None
    for row in log:
        report.add(_problems(row, before))
        before = Head(row["seq"], row["hash"])
        if expect_head is not None and before.seq == expect_head.seq:
            found_hash = before.hash
        report.rows += 1
        if report.rows % _STEP == 0:
            progress(report.rows)
    progress(report.rows)
    report.head = before if report.rows else None
    if expect_head is not None:
        report.add(_against(expect_head, before, found_hash))
    return report


def _problems(row: LogRow, before: Head) -> Iterator[Problem]:
    seq, expected = row["seq"], before.seq + 1
    if seq > expected:
        yield Problem(
            expected,
            f"row {expected} is missing" if seq == expected + 1 else f"rows {expected} to {seq - 1} are missing",
        )
    elif seq < expected:
        yield Problem(seq, f"row {seq} is there twice or out of order")
    elif row["prev_hash"] != before.hash:
        yield Problem(seq, f"row {seq} does not follow the row before it")
    if any(not isinstance(row[name], str | None) for name in _TEXTS):  # SQLite takes any value in any column
        yield Problem(seq, f"row {seq} was changed")
    elif sha256(row["payload"] or "") != row["payload_sha256"]:
        yield Problem(seq, f"row {seq}'s payload was changed")
    elif row_hash(seq, tuple([row[name] for name in _RECORD]), row["recorded_at"], row["prev_hash"]) != row["hash"]:
        yield Problem(seq, f"row {seq} was changed")


def _against(expected: Head, last: Head, found_hash: str | None) -> Iterator[Problem]:
    if last.seq < expected.seq:
        yield Problem(
            last.seq + 1, f"the tail is cut: the log ends at row {last.seq}, expected {expected.seq} at least"
        )
    elif found_hash is not None and found_hash != expected.hash:
        yield Problem(expected.seq, f"row {expected.seq} is not the one that was the head")
