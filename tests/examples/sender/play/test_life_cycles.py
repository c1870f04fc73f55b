from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.sender.http.message import Message
from examples.sender.play.life_cycles import Happening, LifeCycle, life_cycles
from receiver import events
from receiver.environment import load
from receiver.settings import Settings
from worker.event import parse

BEGINS = datetime(2026, 11, 3, 6, tzinfo=UTC)
# What may follow what: written down apart from the state machine, so that both must be wrong to agree.
FOLLOWS = {
    "work_order.created": {"assigned", "overdue", "deleted"},
    "work_order.assigned": {"assigned", "started", "overdue", "deleted", "updated", "completed"},
    "work_order.overdue": {"assigned", "started", "deleted"},
    "work_order.started": {"assigned", "updated"},
    "work_order.updated": {"assigned", "updated", "completed"},
    "action.created": {"in_progress", "cant_do"},
    "action.in_progress": {"solved", "cant_do"},
}
ENDS = {"work_order.completed", "work_order.deleted", "action.solved", "action.cant_do"}


def stories(happenings: list[Happening]) -> dict[str, list[dict[str, Any]]]:
    """The payloads about each Work Order and each Action, in their order."""
    by_subject = defaultdict(list)
    for happening in happenings:
        subject = happening.payload.get("work_order") or happening.payload["action"]
        by_subject[subject["id"]].append(happening.payload)
    return by_subject


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_every_story_is_legal(seed: int) -> None:
    """Each event may follow the one before it, stories begin with a creation and come to an end, times only grow."""
    happenings = life_cycles(seed, 2, 3, BEGINS)
    assert [one.at for one in happenings] == sorted(one.at for one in happenings)
    assert len({one.payload["id"] for one in happenings}) == len(happenings)
    for story in stories(happenings).values():
        types = [payload["type"] for payload in story]
        assert types[0] in {"work_order.created", "action.created"}
        assert types[-1] in ENDS
        for before, after in pairwise(types):
            assert after.partition(".")[2] in FOLLOWS[before], types


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_what_events_tell_is_consistent(seed: int) -> None:
    """Overdue is not started in time, done is every task answered, an Action names its Work Order, time limits bind."""
    told = stories(life_cycles(seed, 1, 4, BEGINS))
    for story in told.values():
        for payload in story:
            order, kind = payload.get("work_order"), payload["type"]
            if order and kind == "work_order.overdue":
                assert order["started_at"] is None
                assert payload["occurred_at"] > order["planned_start"]
            if order and kind == "work_order.completed":
                assert {task["status"] for task in order["tasks"]} == {"Done"}
                assert order["started_at"] < order["finished_at"] == payload["occurred_at"]
                assert order["finished_at"] <= order["due_date"] or order["allow_submission_after_due_date"]
            if kind.startswith("action."):
                assert payload["action"]["work_order"]["id"] in told
                assert payload["action"]["status"] == ("Open" if kind == "action.created" else status(kind))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_people_change_only_when_work_is_assigned(seed: int) -> None:
    """Who is assigned changes with `assigned` alone, and whoever starts, answers and completes is assigned then."""
    for story in stories(life_cycles(seed, 1, 4, BEGINS)).values():
        orders = [(payload["type"], payload["actor"], payload.get("work_order")) for payload in story]
        for (_, _, before), (kind, actor, order) in pairwise(orders):
            if order is None or before is None:
                continue
            assert before["assignees"] == order["assignees"] or kind == "work_order.assigned"
            if kind in {"work_order.started", "work_order.updated", "work_order.completed"}:
                assert actor["id"] in [one["id"] for one in order["assignees"]]


@pytest.mark.parametrize("allowed", [True, False])
def test_a_due_date_binds_unless_later_is_allowed(*, allowed: bool) -> None:
    """With half an hour for the work some of it is late where that is allowed, and none of it where it is not."""
    late = 0
    for seed in range(20):
        cycle = LifeCycle(Random(seed), 0, 0, BEGINS)
        due = datetime.fromisoformat(cycle.order["planned_start"]) + timedelta(minutes=30)
        cycle.order |= {"due_date": due.isoformat(), "allow_submission_after_due_date": allowed}
        late += any(one.payload["type"] == "work_order.completed" and one.at > due for one in cycle.told())
    assert (late > 0) == allowed


def status(kind: str) -> str:
    return events.BY_NAME[kind].title.removeprefix("Action ")


def test_stories_are_repeatable_and_show_every_type() -> None:
    """The same seed is the same bytes, another one is not; a few sites show all eleven types."""
    once, again, other = (life_cycles(seed, 4, 5, BEGINS) for seed in (1, 1, 2))
    assert once == again != other
    sites = [(one.payload.get("work_order") or one.payload["action"])["site"]["id"] for one in once]
    assert sites != sorted(sites)  # they work in parallel
    assert len(set(sites)) == 4
    assert {one.payload["type"] for one in once} == set(events.BY_NAME)


def test_the_worker_understands_every_event() -> None:
    """The worker's own parser finds id, known type, time and subject, and its views read what happened."""
    kit = load(Settings, redis_url="redis://localhost")
    for happening in life_cycles(5, 2, 3, BEGINS):
        event = parse(Message.of(happening.payload).body, kit)
        assert event.known
        assert event.id
        assert event.subject
        assert event.occurred_at == happening.at
        view = event.work_order or event.action
        assert view
        assert view.status
