"""Verifies the log: every row's hash, link and number, in one pass with constant memory."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.handlers.audit_log.record import TEXTS, Head, hashed_text
from examples.handlers.audit_log.seal import Seal, key_id, sha256

MOST_PROBLEMS = 100  # listed; a rewritten log has a problem in every row
_STEP = 5000  # rows between two progress updates

LogRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and the `seq` of the row."""

    seq: int
    what: str


@dataclass(slots=True)
class Report:
    """The result: rows read, the last one, the number of problems, and the first of them in order.

    `unguarded` has the problems of the table's triggers. `sealed`: rows were checked with a key. `anchored` is the last
    row that an anchor confirmed.
    """

    rows: int = 0
    head: Head = field(default_factory=Head)
    sealed: bool = False
    anchored: int = 0
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    unguarded: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.problem_count and not self.unguarded

    def add(self, found: Iterable[Problem]) -> None:
        for problem in found:
            self.problem_count += 1
            if len(self.problems) < MOST_PROBLEMS:
                self.problems.append(problem)

    def proves(self) -> list[str]:
        """What an intact log proves, and what it does not."""
        if not self.intact:
            return []
        return [
            "every row was written by a holder of the newest AUDIT_KEY, or is covered by an anchor"
            if self.sealed
            else "no AUDIT_KEY: whoever can write to the database can compute such a chain anew",
            f"up to row {self.anchored} it is what was anchored; of what came after, the end may be cut off"
            if self.anchored
            else "no anchor: whether the end was cut off, or an older copy put in its place, does not show",
        ]

    def lines(self) -> Iterator[str]:
        """The report as text."""
        yield from (problem.what for problem in self.problems)
        if self.problem_count > len(self.problems):
            yield f"and {self.problem_count - len(self.problems)} more"
        yield from self.unguarded
        state = "intact" if self.intact else "NOT intact"
        yield f"{state}: {self.rows} rows, head {self.head if self.rows else 'none, the log is empty'}"
        yield from (f"  {line}" for line in self.proves())

    def as_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "intact": self.intact,
            "rows": self.rows,
            "head": str(self.head) if self.rows else None,
            "problem_count": self.problem_count,
            "problems": [{"seq": problem.seq, "what": problem.what} for problem in self.problems],
            "unguarded": self.unguarded,
            "proves": self.proves(),
        }


def verify(
    log: Iterable[LogRow],
    seal: Seal | None = None,
    anchors: Iterable[Head] = (),
    progress: Callable[[int], None] = lambda _rows: None,
) -> Report:
    """Read the rows, in order of `seq`, and report all problems.

    The chain alone cannot show that its last rows were removed; `anchors`, heads that were noted earlier, can. If
    `seal` has keys, a row that is not under the newest key may be forged, unless an anchor at or after it confirms it.
    """
    seal, expected = seal or Seal(), _by_seq(anchors)
    report, last = Report(sealed=seal.has_key), Head()
    unvouched: list[int] = []  # the first and the last row confirmed neither by the key nor by an anchor
    for row in log:
        report.add(_problems(row, last, seal))
        last = Head(row["seq"], str(row["hash"]))
        if seal.has_key and seal.age(key_id(last.hash)):
            unvouched = [*unvouched[:1], last.seq]
        if (hashes := expected.get(last.seq)) is not None:
            if hashes == {last.hash}:
                report.anchored, unvouched = last.seq, []
            else:
                report.add([Problem(last.seq, f"row {last.seq} is not the one that was the head")])
        report.rows += 1
        if report.rows % _STEP == 0:
            progress(report.rows)
    progress(report.rows)
    report.head = last
    report.add(_at_the_end(last, max(expected, default=0), unvouched))
    return report


def _by_seq(anchors: Iterable[Head]) -> Mapping[int, set[str]]:
    expected = defaultdict(set)
    for anchor in anchors:
        expected[anchor.seq].add(anchor.hash)
    return expected


def _problems(row: LogRow, before: Head, seal: Seal) -> Iterator[Problem]:
    seq, expected, row_hash = row["seq"], before.seq + 1, str(row["hash"])
    key = key_id(row_hash)
    if seq > expected:
        yield Problem(expected, f"{_rows(expected, seq - 1)} missing")
    elif seq < expected:
        yield Problem(seq, f"row {seq} is there twice or out of order")
    elif row["prev_hash"] != before.hash:
        yield Problem(seq, f"row {seq} does not follow the row before it")
    if not before.seq or key != key_id(before.hash):
        yield from _of_another_key(seq, key, before, seal)
    if any(not isinstance(row[name], str | None) for name in TEXTS):  # SQLite stores any type in any column
        yield Problem(seq, f"row {seq} was changed")
    elif sha256(row["payload"] or "") != row["payload_sha256"]:
        yield Problem(seq, f"row {seq}'s payload was changed")
    elif seal.age(key) is not None and not seal.holds(hashed_text(row), row_hash):
        yield Problem(seq, f"row {seq} was changed")


def _of_another_key(seq: int, key: str, before: Head, seal: Seal) -> Iterator[Problem]:
    """Check the order of keys: rows under older keys, or none, come before rows under newer ones."""
    age = seal.age(key)
    age_before = seal.age(key_id(before.hash)) if before.seq else None
    if age is None:
        yield Problem(seq, f"row {seq} is under key {key}, which AUDIT_KEY does not have: it cannot be checked")
    elif age_before is not None and age > age_before:
        yield Problem(seq, f"row {seq} is under {'an older' if key else 'no'} key, unlike the row before it")


def _at_the_end(last: Head, expected: int, unvouched: Sequence[int]) -> Iterator[Problem]:
    if last.seq < expected:
        yield Problem(last.seq + 1, f"the tail is cut: the log ends at row {last.seq}, expected {expected} at least")
    if unvouched:
        first, last_one = unvouched[0], unvouched[-1]
        yield Problem(first, f"{_rows(first, last_one)} not under the newest AUDIT_KEY, and no anchor covers them")


def _rows(first: int, last: int) -> str:
    return f"row {first} is" if first == last else f"rows {first} to {last} are"
