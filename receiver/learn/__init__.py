"""Where the fields of payloads are that nobody has described: found in samples, each with how sure it is and why.

    bodies ─▶ events (of batches) ─▶ type ─▶ subject ─▶ its fields ─▶ id, time, who did it ─▶ payload.toml

What is not clear is asked (`Choose`), and stays open if nobody answers: nothing is guessed silently. What a file
of before finds in the samples is kept as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from receiver import events
from receiver.events import candidates, times
from receiver.events.candidates import Candidate, Leaves, leaves
from receiver.events.guesses import event_guess
from receiver.events.paths import joined
from receiver.events.payload_map import PayloadMap
from receiver.learn.before import Find, Keeper
from receiver.learn.learned import Choose, Learned
from receiver.learn.subjects import add_subject
from receiver.learn.types import events_in, nearest_type, type_fields


def learn(bodies: Sequence[Any], before: PayloadMap, given: Mapping[str, set[str]], choose: Choose) -> Learned:
    """Look at parsed bodies. `given` are the entries, by table, that the file of before has itself."""
    learned = events_in(bodies, before.batch)
    told = [leaves(payload) for payload in learned.events]
    keeps = Keeper(before, given, learned)
    types = keeps("event", "type", learned.events, lambda some: type_fields([leaves(one) for one in some], before))
    types = types or learned.add("event", "type", type_fields(told, before), choose)
    if types:
        named = [payload for payload in learned.events if events.first_text(payload, types)]
        learned.left_out, learned.events = len(learned.events) - len(named), named
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for payload in learned.events:
        words = events.first_text(payload, types)
        name = before.named(words or "")
        if words and name not in events.BY_NAME:
            learned.words[words[: events.LONGEST_NAME]] = nearest_type(words)
        if kind := events.subject_kind(name):
            by_kind.setdefault(kind, []).append(payload)
    inside = [path for kind, some in by_kind.items() for path in add_subject(learned, kind, some, keeps, choose)]

    def outside(some: Sequence[dict[str, Any]]) -> list[Leaves]:
        return [_without(leaves(one), [*inside, *types]) for one in some]

    finders: dict[str, Find] = {
        "id": lambda some: candidates.ids(outside(some)),
        "time": lambda some: candidates.moments(outside(some)),
        "actor": _actors,
    }
    for name, find in finders.items():
        if not keeps("event", name, learned.events, find):
            learned.add("event", name, find(learned.events), choose)
    _look_for_offsets(learned, before)
    return learned


def _without(one: Leaves, paths: Sequence[str]) -> dict[str, Any]:
    """The leaves that are under none of these paths."""
    taken = [path for path in paths if path]
    return {
        path: value for path, value in one.items() if not any(path == at or path.startswith(f"{at}.") for at in taken)
    }


def _actors(payloads: Sequence[dict[str, Any]]) -> list[Candidate]:
    found = {}
    for name, value in ((name, value) for payload in payloads for name, value in payload.items()):
        if (one := event_guess(name, value)) and one.field == "actor":
            found[name] = Candidate(joined([name]), one.confidence, one.reason)
    return list(found.values())


def _look_for_offsets(learned: Learned, before: PayloadMap) -> None:
    paths = next((entry.chosen for entry in learned.entries if (entry.table, entry.name) == ("event", "time")), ())
    for path in paths if before.zone is None else ():
        values = [value for payload in learned.events if (value := events.at_path(payload, path)) is not None]
        if any(times.has_no_offset(value) for value in values):
            learned.without_offset = path
            return
