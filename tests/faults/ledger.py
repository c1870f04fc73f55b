"""The arithmetic: compares acknowledged events with the handler runs, and explains repeated runs."""

import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.books import Books
from tests.faults.cluster import Kill
from tests.faults.effects import How, Run

SAME_MOMENT = 0.02
"""Tolerance in seconds when comparing the end of a process with a line that it wrote."""
STATES = ("done", "skipped", "dead", "open")
"""The states of an event's handler."""
Pair = tuple[str, str]
"""An event and a handler."""


@dataclass(frozen=True)
class Evidence:
    """All data of a run.

    `trouble` has the spans in which Valkey was unavailable, `other_sides` the mistakes found in the external system and
    in the audit log.
    """

    acknowledged: set[str]
    runs: Sequence[Run]
    kills: Mapping[str, Kill]
    books: Books
    handlers: Sequence[str]
    trouble: Sequence[tuple[float, float]] = ()
    other_sides: Sequence[str] = ()


@dataclass(frozen=True)
class Repeats:
    """Attempts that were run more than once: after a kill interrupted the run before, or without that reason."""

    explained: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Account:
    """The (event, handler) pairs of acknowledged events; each is done, skipped, dead, open or lost."""

    done: set[Pair]
    skipped: set[Pair]
    dead: set[Pair]
    open: set[Pair]
    lost: set[Pair]
    dead_for_no_reason: set[Pair]


def account(evidence: Evidence) -> Account:
    """Classify all pairs: done and skipped according to the handler's own journal, dead and open according to Redis."""
    done = _those(evidence, "done")
    skipped = _those(evidence, "skipped") - done
    owed = {(event, handler) for event in evidence.acknowledged for handler in evidence.handlers}
    recorded = {pair: outcome.state for pair, outcome in evidence.books.outcomes.items()}
    unsettled = owed - done - skipped
    dead = {pair for pair in unsettled if recorded.get(pair) == "dead"}
    still_open = {pair for pair in unsettled if recorded.get(pair) == "open"}
    return Account(
        done=done & owed,
        skipped=skipped & owed,
        dead=dead,
        open=still_open,
        lost=unsettled - dead - still_open,
        dead_for_no_reason=dead - _those(evidence, "gave up"),
    )


def _those(evidence: Evidence, how: How) -> set[Pair]:
    return {(run.event, run.handler) for run in evidence.runs if run.how == how}


def repeats(evidence: Evidence) -> Repeats:
    """Attempts that were started again, and whether a kill of the process that ran them before explains that."""
    attempts: dict[tuple[str, str, int], list[Run]] = defaultdict(list)
    for run in evidence.runs:
        attempts[run.event, run.handler, run.attempt].append(run)
    found = Repeats()
    for (event, handler, attempt), runs in attempts.items():
        outcome = evidence.books.outcomes.get((event, handler))
        recorded = outcome.at.get(attempt, float("inf")) if outcome else float("inf")
        for run in sorted(runs, key=lambda run: run.started)[:-1]:
            is_explained = _was_interrupted(run, recorded, evidence)
            (found.explained if is_explained else found.unexplained).append(
                f"{event} {handler} attempt {attempt} in {run.process}: {run.how or 'no end'}"
            )
    return found


def _was_interrupted(run: Run, recorded: float, evidence: Evidence) -> bool:
    """Whether a kill of the process interrupted this run: before its outcome, if it had one, was recorded."""
    kill = evidence.kills.get(run.process)
    if kill is None or recorded < kill.sent - SAME_MOMENT:
        return False
    if run.how == "cancelled" and run.ended < kill.sent - SAME_MOMENT:
        return False  # cancelled before the kill: its lease was lost
    if kill.signal is signal.SIGKILL or run.how in {"cancelled", ""}:
        return True
    # After SIGTERM the worker waits until the outcome is recorded, unless Valkey was unavailable.
    return any(began < kill.exited and kill.sent < ended for began, ended in evidence.trouble)


def disagreements(evidence: Evidence) -> list[str]:
    """Contradictions within the kit's own ledger, and between it and the handlers' journals."""
    books = evidence.books
    lines = _differ("counts: accepted", books.counts.get("accepted", 0), "records", books.records)
    for handler in evidence.handlers:
        total = sum(books.total(handler, state) for state in STATES)
        lines += _differ(f"{handler}: {' + '.join(STATES)}", total, "records", books.records)
        for state in ("done", "skipped", "dead"):
            count, recorded = books.counts.get(f"{handler} {state}", 0), books.total(handler, state)
            lines += _differ(f"counts: {handler} {state}", count, f"recorded {state}", recorded)
        did = {run.event for run in evidence.runs if run.handler == handler and run.how in {"done", "skipped"}}
        says = {
            event
            for (event, name), outcome in books.outcomes.items()
            if name == handler and outcome.state in {"done", "skipped"}
        }
        lines += _differ(f"{handler}: did", len(did), "recorded done or skipped", len(says)) if did != says else []
    unknown = evidence.acknowledged - {event for event, _ in books.outcomes}
    return [*lines, *([f"acknowledged without a record: {len(unknown)}"] if unknown else [])]


def _differ(name: str, value: int, other_name: str, other: int) -> list[str]:
    return [f"{name} {value}, {other_name} {other}"] if value != other else []
