"""Consistent stories of Work Orders and the Actions raised in them, by a state machine with a seed.

The state machine is the kit's, based on Glartek's description of the event types; payloads have the form of the
samples. Ids, times and people are consistent: each event shows its Work Order as it was at that time.
"""

import copy
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from examples.sender.play import invention
from examples.sender.play.payloads import Samples, Story
from examples.sender.terminal import Refusal
from receiver import events

# The events possible in each state, with relative weights.
WORK_ORDER: dict[str, dict[str, int]] = {
    "pending": {"assigned": 4, "started": 5, "overdue": 2, "deleted": 1},
    "late": {"assigned": 2, "started": 6, "deleted": 1},
    "in progress": {"updated": 12, "assigned": 1},
    "answered": {"completed": 1},
}
_BAD = 3  # bad answers of ten; each raises an Action
ACTION: dict[str, dict[str, int]] = {
    "Open": {"in_progress": 5, "cant_do": 1},
    "In Progress": {"solved": 5, "cant_do": 1},
    "Can't Do": {},
    "Solved": {},
}


@dataclass(frozen=True, slots=True)
class Happening:
    """One event, and when it happened."""

    at: datetime
    payload: dict[str, Any]


def life_cycles(seed: int, sites: int, work_orders: int, begins: datetime) -> list[Happening]:
    """The events of `work_orders` Work Orders at each site, from `begins` on, by time; repeatable with a seed."""
    told = [
        happening
        for site in range(sites)
        for number in range(work_orders)
        for happening in LifeCycle(Random(f"{seed}/{site}/{number}"), site, number, begins).told()
    ]
    return sorted(told, key=lambda happening: happening.at)


def told_with(happenings: Iterable[Happening], samples: Samples, seed: int) -> list[Happening]:
    """The same stories with a customer's samples as payloads, with the stories' own ids and times.

    Types without a sample are left out. Raises `Refusal` if no type has one.
    """
    orders: dict[str, Story] = {}
    actions: dict[str, Story] = {}
    used: Counter[str] = Counter()
    told = []
    for one in happenings:
        kind = one.payload["type"]
        order = one.payload.get("work_order") or one.payload["action"]["work_order"]
        story = orders.setdefault(order["id"], Story(Random(f"{seed}/{order['id']}"), samples))
        if action := one.payload.get("action"):
            story = actions.setdefault(action["id"], story.beside(Random(f"{seed}/{action['id']}")))
        if kind in samples.by_type:
            told.append(Happening(one.at, story.event(kind, one.at, used[kind])))
            used[kind] += 1
    if not told:
        raise Refusal(f"--samples: no type of a life cycle is among them; found {', '.join(samples.by_type)}")
    return told


class LifeCycle:
    """One Work Order from its creation to its end, with the Actions raised in it."""

    def __init__(self, rng: Random, site: int, number: int, begins: datetime) -> None:
        self.rng = rng
        self.now = begins + timedelta(minutes=rng.randrange(8 * 60))
        self.creator = invention.person(self.rng)
        self.order = invention.work_order(rng, site, number, self.now, self.creator)
        self.state = "pending"
        self._told: list[Happening] = []

    def told(self) -> list[Happening]:
        """All events of the story, not sorted by time: an Action's events are together."""
        self._tell("work_order.created", self.creator)
        while self.state in WORK_ORDER:
            self._next()
        return self._told

    def _next(self) -> None:
        what = self._choice(WORK_ORDER[self.state])
        self.now += timedelta(minutes=self.rng.randrange(5, 90))
        planned = datetime.fromisoformat(self.order["planned_start"])
        if what == "overdue":
            self.now = max(self.now, planned) + timedelta(seconds=1)
        elif self.state == "pending":
            self.now = min(self.now, planned)
        elif not self.order["allow_submission_after_due_date"]:
            self.now = min(self.now, datetime.fromisoformat(self.order["due_date"]))
        steps = {
            "assigned": self._assigned, "started": self._started, "overdue": self._overdue, "updated": self._updated,
            "completed": self._completed, "deleted": self._deleted,
        }  # fmt: skip
        steps[what]()

    def _assigned(self) -> None:
        self.order["assignees"] = [{"type": "user", **invention.person(self.rng, self._assignee())}]
        self._tell("work_order.assigned", self.creator)

    def _overdue(self) -> None:
        self.state = "late"
        self._tell("work_order.overdue", None)

    def _started(self) -> None:
        if not self.order["assignees"]:
            self._assigned()  # to the person who starts it
        self.state = "in progress"
        self.order |= {"status": "In Progress", "started_at": invention.text(self.now)}
        self._tell("work_order.started", self._assignee())

    def _updated(self) -> None:
        task = next(task for task in self.order["tasks"] if task["status"] == "Pending")
        good = self.rng.randrange(10) >= _BAD
        task |= {"status": "Done", "response": invention.response(task["type"], self.rng, good=good)}
        self._tell("work_order.updated", self._assignee(), changed=["tasks"])
        if not good:
            self._raise_action(task, self._assignee() or self.creator)
        if all(task["status"] == "Done" for task in self.order["tasks"]):
            self.state = "answered"

    def _completed(self) -> None:
        self.state = "completed"
        self.order |= {"status": "Done", "finished_at": invention.text(self.now)}
        self._tell("work_order.completed", self._assignee())

    def _deleted(self) -> None:
        self.state = "deleted"
        self._tell("work_order.deleted", self.creator)

    def _raise_action(self, task: dict[str, Any], by: dict[str, Any]) -> None:
        """The whole story of an Action; it may end after the Work Order."""
        at = self.now + timedelta(minutes=self.rng.randrange(1, 5))
        action = invention.action(self.rng, self.order, task, by, at)
        self._tell_at(at, "action.created", {"actor": by, "action": action})
        while ACTION[action["status"]]:
            kind = events.BY_NAME[f"action.{self._choice(ACTION[action['status']])}"]
            at += timedelta(minutes=self.rng.randrange(10, 600))
            action |= {"status": kind.title.removeprefix("Action "), "last_update": invention.text(at)}
            if not ACTION[action["status"]]:
                action["finish_date"] = invention.text(at)
            self._tell_at(at, kind.name, {"actor": invention.person(self.rng), "action": action})

    def _tell(self, event_type: str, actor: dict[str, Any] | None, **more: Any) -> None:
        self._tell_at(self.now, event_type, {"actor": actor, **more, "work_order": self.order})

    def _tell_at(self, at: datetime, event_type: str, rest: dict[str, Any]) -> None:
        head = {"id": f"evt_{self.rng.getrandbits(80):020x}", "type": event_type, "occurred_at": invention.text(at)}
        self._told.append(Happening(at, {**head, **copy.deepcopy(rest)}))

    def _choice(self, weights: dict[str, int]) -> str:
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def _assignee(self) -> dict[str, Any] | None:
        first = next(iter(self.order["assignees"]), None)
        return {name: first[name] for name in ("id", "name")} if first else None
