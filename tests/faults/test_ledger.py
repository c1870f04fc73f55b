"""The arithmetic of the ledger, on evidence made by hand."""

import itertools
import signal
from pathlib import Path

import pytest

from receiver.idempotency import delivery_id
from tests.faults import other_sides
from tests.faults.books import Books, Recorded
from tests.faults.cluster import Kill
from tests.faults.effects import How, Journal, Run, read
from tests.faults.ledger import Evidence, account, disagreements, repeats
from tests.faults.schedule import DAMAGE, plan


def key_of(event: str) -> str:
    """The idempotency key under which the external system should see an event."""
    return f"handlers.update:{delivery_id('event-id', event)}"


KILLED, TERMINATED = signal.SIGKILL, signal.SIGTERM


def run(process: str, started: float, ended: float = float("inf"), how: How = "") -> Run:
    return Run("event", "a.handler", 1, process, started, ended, how)


def evidence(
    *runs: Run,
    state: str | None = None,
    at: float = 0.0,
    kill: Kill | None = None,
    trouble: tuple[float, float] = (0, 0),
) -> Evidence:
    books = Books(records=1, counts={"accepted": 1, f"a.handler {state}": 1})
    if state:
        books.outcomes["event", "a.handler"] = Recorded(state, {1: at})
    kills = {"worker.1": kill} if kill else {}
    return Evidence({"event"}, runs, kills, books, ["a.handler"], [trouble])


def test_what_was_done_is_not_lost_whatever_redis_says() -> None:
    """The handler's journal counts, not the record in Redis."""
    found = account(evidence(run("worker.1", 1, 2, "done")))
    assert (len(found.done), len(found.lost)) == (1, 0)


@pytest.mark.parametrize("state", [None, "done"])
def test_what_nobody_did_and_nobody_keeps_is_lost(state: str | None) -> None:
    """An acknowledged event without a record is lost, and so is one that is done in Redis but in no journal."""
    assert account(evidence(state=state)).lost == {("event", "a.handler")}


def test_what_was_skipped_is_settled() -> None:
    """It has its own count, on both sides of the ledger."""
    skipped = evidence(run("worker.1", 1, 2, "skipped"), state="skipped")
    found = account(skipped)
    assert (len(found.skipped), len(found.done), len(found.lost), len(found.open)) == (1, 0, 0, 0)
    assert disagreements(skipped) == []


def test_open_and_dead_are_not_lost() -> None:
    """What Redis still holds can be done later, automatically or by an operator."""
    assert account(evidence(state="open")).open
    assert account(evidence(run("worker.1", 1, 2, "gave up"), state="dead")).dead


def test_a_dead_letter_that_no_handler_asked_for_is_told() -> None:
    """A dead letter counts as justified only if the handler gave up."""
    assert account(evidence(state="dead")).dead_for_no_reason
    assert not account(evidence(run("worker.1", 1, 2, "gave up"), state="dead")).dead_for_no_reason


AGAIN = run("worker.2", 5, 6, "done")


@pytest.mark.parametrize(
    ("first", "kill", "recorded", "trouble"),
    [
        (run("worker.1", 1), Kill(KILLED, 1.5), 6, (0, 0)),
        (run("worker.1", 1, 2, "done"), Kill(KILLED, 2.01), 6, (0, 0)),
        (run("worker.1", 1, 3, "cancelled"), Kill(TERMINATED, 2), 6, (0, 0)),
        (run("worker.1", 1, 3, "done"), Kill(TERMINATED, 2, 4), 6, (1, 5)),
    ],
    ids=["killed in it", "killed before it was recorded", "terminated in it", "terminated while valkey was away"],
)
def test_a_repeat_is_explained_by_a_kill_of_that_very_run(
    first: Run, kill: Kill, recorded: float, trouble: tuple[float, float]
) -> None:
    """A run that was interrupted before its outcome was recorded may be repeated."""
    found = repeats(evidence(first, AGAIN, state="done", at=recorded, kill=kill, trouble=trouble))
    assert (len(found.explained), len(found.unexplained)) == (1, 0)


@pytest.mark.parametrize(
    ("first", "kill", "recorded"),
    [
        (run("worker.1", 1, 2, "done"), None, 6),
        (run("worker.1", 1, 2, "done"), Kill(KILLED, 4), 2.1),
        (run("worker.1", 1, 2, "done"), Kill(TERMINATED, 4, 4.5), 6),
        (run("worker.1", 1, 2, "cancelled"), Kill(KILLED, 4), 6),
    ],
    ids=["no kill", "recorded before the kill", "terminated with time to record", "cancelled by a lost lease"],
)
def test_a_repeat_without_such_a_kill_is_unexplained(first: Run, kill: Kill | None, recorded: float) -> None:
    """A kill of the process before or after the run does not explain the repetition."""
    found = repeats(evidence(first, AGAIN, state="done", at=recorded, kill=kill))
    assert (len(found.explained), len(found.unexplained)) == (0, 1)


def test_another_attempt_is_no_repeat() -> None:
    """A retry after a failure is a new attempt, not the same run again."""
    again = Run("event", "a.handler", 2, "worker.1", 3, 4, "done")
    assert repeats(evidence(run("worker.1", 1, 2, "failed"), again)).unexplained == []


def test_books_that_agree_say_nothing_and_books_that_do_not_say_where() -> None:
    """Counts, records and the handlers' journals have to agree."""
    good = evidence(run("worker.1", 1, 2, "done"), state="done")
    assert disagreements(good) == []
    good.books.counts["accepted"] = 2
    good.books.counts["a.handler done"] = 0
    assert len(disagreements(good)) == 2
    assert disagreements(evidence(state="done")) == ["a.handler: did 0, recorded done or skipped 1"]


WORK_ORDERS = {"first": ("wo", "2026-11-03T09:00"), "last": ("wo", "2026-11-03T09:05")}


@pytest.mark.parametrize(
    ("state", "applied", "expected"),
    [
        ({"wo": "2026-11-03T09:05"}, ["first", "last"], []),
        ({"wo": "2026-11-03T09:00"}, ["last", "first"], ["wo is of 2026-11-03T09:00, its last event of"]),
        ({}, [], ["wo is of None"]),
        ({"wo": "2026-11-03T09:05", "other": "2026"}, ["last"], ["other is of 2026, its last event of None"]),
        ({"wo": "2026-11-03T09:05"}, ["last", "last"], [f"{key_of('last')} was applied 2 times"]),
        ({"wo": "2026-11-03T09:05"}, ["last", "unknown"], [f"{key_of('unknown')} is no event's key"]),
    ],
)
def test_the_external_system_is_held_to_the_last_event_and_to_one_key_for_each(
    state: dict[str, str], applied: list[str], expected: list[str]
) -> None:
    """An older state, a missing or extra Work Order, a key applied twice or unknown: each is reported."""
    recorded = {
        "work_orders": {name: {"updated_at": time} for name, time in state.items()},
        "requests": [{"idempotency_key": key_of(event), "applied": True} for event in applied],
    }
    found = list(other_sides.in_external_system(recorded, ["first", "last"], WORK_ORDERS))
    assert [line.startswith(f"external system: {start}") for line, start in zip(found, expected, strict=True)] == [
        True for _ in expected
    ]


def test_the_audit_log_is_held_to_every_event_once() -> None:
    """Reports an event that is there twice, is missing, or was not done."""
    assert list(other_sides.in_audit_log(["a", "b"], {"a", "b"})) == []
    assert list(other_sides.in_audit_log(["a", "a", "c"], {"a", "b"})) == [
        "audit log: a is there 2 times",
        "audit log: b is not there",
        "audit log: c was not done",
    ]


def test_effects_are_read_as_they_were_written(tmp_path: Path) -> None:
    """A start without an end is read as a run without an end."""
    journal = Journal(tmp_path, "worker-0.1")
    journal.write("start", "event", "a.handler", 1)
    journal.write("start", "other", "a.handler", 1)
    journal.write("done", "event", "a.handler", 1)
    runs = sorted(read(tmp_path), key=lambda found: found.event)
    assert [(found.event, found.how, found.process) for found in runs] == [
        ("event", "done", "worker-0.1"),
        ("other", "", "worker-0.1"),
    ]


def test_a_seed_is_a_plan() -> None:
    """Equal seeds make equal plans, other seeds other plans, and a whole run has faults of every kind."""
    assert plan(1, 120) == plan(1, 120) != plan(2, 120)
    assert {fault.kind for fault in plan(1, 120)} >= {
        *("kill", "terminate", "drop", "freeze", "slow", DAMAGE),
        *("lower its memory limit", "fill its memory", "take away"),
        *("refuse for now", "ask for a pause", "lose answers", "answer late"),
    }


def test_receivers_are_struck_one_after_the_other() -> None:
    """Both receivers are never planned to be down at the same time."""
    strikes = [fault for fault in plan(3, 150) if fault.lane == "receivers"]
    assert all(fault.target >= 0 for fault in strikes)
    assert all(one.at + one.seconds < other.at for one, other in itertools.pairwise(strikes))
