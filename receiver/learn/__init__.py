"""Where the fields of payloads are that nobody has described: found in samples, each with how sure it is and why.

    bodies ─▶ events (of batches) ─▶ type ─▶ subject ─▶ its fields ─▶ id, time, who did it ─▶ payload.toml

What cannot be told is asked (`Choose`), and stays open where nobody answers: nothing is guessed in silence. What a file
of before finds in the samples is kept as it is.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from receiver import events
from receiver.events import batch, candidates, times
from receiver.events.candidates import Candidate, Leaves, leaves
from receiver.events.guesses import CALLED, event_guess, guess, path_for
from receiver.events.paths import joined
from receiver.events.payload_file import ours
from receiver.events.payload_map import PayloadMap

SURE = 0.6
"""Below this even a lone candidate is a question."""
_DEEPEST = 3  # objects in each other in which a subject is looked for
_NUMBERED = ("status", "priority")

Find = Callable[[Sequence[dict[str, Any]]], Sequence[Candidate]]
"""What payloads have that an entry may be, the most likely first."""
Choose = Callable[[str, Sequence[Candidate]], Candidate | None]
"""Asks somebody which candidate it is; None where nobody knows."""


@dataclass
class Entry:
    """One entry of the file: `chosen` where it is clear, else the candidates that it could be."""

    table: str
    name: str
    chosen: Sequence[str] = ()
    reason: str = ""
    confidence: float = 0.0
    candidates: Sequence[Candidate] = ()


@dataclass
class Learned:
    """What was found in so many events."""

    events: list[dict[str, Any]]
    entries: list[Entry] = field(default_factory=list)
    batch: str | None = None
    words: dict[str, str | None] = field(default_factory=dict)
    """The sender's words that mean no type of the kit's, each with the nearest."""
    without_offset: str = ""
    """The path of a time that needs a zone."""
    numbers: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """By kind and field: values that are numbers, so that somebody has to say what they mean."""

    def add(self, table: str, name: str, found: Sequence[Candidate], choose: Choose) -> Sequence[str]:
        """An entry for the best candidate; its path, none where it stays open or there is no candidate."""
        if not found:
            return ()
        best = candidates.rivals(found)
        chosen = best[0] if len(best) == 1 and best[0].confidence >= SURE else choose(f"[{table}] {name}", best)
        if chosen is None:
            self.entries.append(Entry(table, name, candidates=best))
            return ()
        self.entries.append(Entry(table, name, [chosen.path], chosen.reason, chosen.confidence))
        return [chosen.path]

    @property
    def questions(self) -> list[str]:
        """What is open, a line each."""
        lines = [
            f"[{entry.table}] {entry.name}: {' or '.join(one.path for one in entry.candidates)}?"
            for entry in self.entries
            if not entry.chosen
        ]
        decided = {(entry.table, entry.name) for entry in self.entries}
        lines += [f"[event] {name}: nothing found" for name in ("id", "type", "time") if ("event", name) not in decided]
        lines += [f"[types] {word!r}: which type is it?" for word in self.words]
        if self.without_offset:
            lines.append(f"[event] time_zone: {self.without_offset} has no offset")
        return lines


def learn(bodies: Sequence[Any], before: PayloadMap, given: Mapping[str, set[str]], choose: Choose) -> Learned:
    """Look at parsed bodies. `given` are the entries, by table, that the file of before has itself."""
    learned = _events(bodies)
    told = [leaves(payload) for payload in learned.events]
    keeps = _Keeper(before, given, learned)
    types = keeps("event", "type", learned.events, lambda some: _types([leaves(one) for one in some], before))
    types = types or learned.add("event", "type", _types(told, before), choose)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for payload in learned.events:
        words = events.first_text(payload, types)
        name = before.named(words or "")
        if words and name not in events.BY_NAME:
            learned.words[words[: events.LONGEST_NAME]] = nearest_type(words)
        if kind := events.subject_kind(name):
            by_kind.setdefault(kind, []).append(payload)
    inside = [path for kind, some in by_kind.items() for path in _subject(learned, kind, some, keeps, choose)]

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


class _Keeper:
    """Keeps what the file of before has, where it finds something; adds what it lacks for payloads of another form."""

    def __init__(self, before: PayloadMap, given: Mapping[str, set[str]], learned: Learned) -> None:
        self._before, self._given, self._learned = before, given, learned

    def __call__(
        self, table: str, name: str, payloads: Sequence[dict[str, Any]], find: Find = lambda _: ()
    ) -> Sequence[str]:
        """The paths, those of before first; none where these find nothing. `find` looks at payloads that they miss."""
        if name not in self._given.get(table, ()):
            return ()
        paths = self._paths(table, name)
        missed = [payload for payload in payloads if not self._is_found(table, name, payload)]
        if len(missed) == len(payloads):
            return ()
        new = next((one for one in find(missed) if one.confidence >= SURE and one.path not in paths), None)
        chosen = [*paths, new.path] if new else paths
        reason = f"as it was, and {new.path!r}: {new.reason}" if new else "as it was"
        self._learned.entries.append(Entry(table, name, chosen, reason, new.confidence if new else 1.0))
        return chosen

    def _paths(self, table: str, name: str) -> Sequence[str]:
        if table == "event":
            paths: Sequence[str] = getattr(self._before, name)
            return paths
        subject = self._before.subjects[table]
        return subject.at if name == "at" else subject.fields[name].paths

    def _is_found(self, table: str, name: str, payload: dict[str, Any]) -> bool:
        if table == "event":
            return any(getattr(self._before, name).found(payload))
        subject = self._before.subjects[table]
        part = subject.part(payload)
        return part is not None and (name == "at" or any(subject.fields[name].found(part, payload)))


def _events(bodies: Sequence[Any]) -> Learned:
    """The events in bodies, which may come in batches: where the parts name types and the bodies do not."""
    whole = [body for body in bodies if isinstance(body, dict)]
    for path in () if _name_types(whole) else ("@", *dict.fromkeys(joined([name]) for body in whole for name in body)):
        parts = [part for body in bodies for part in _parts(body, path)]
        if _name_types(parts):
            return Learned(parts, batch=path)
    return Learned(whole)


def _parts(body: Any, path: str) -> list[dict[str, Any]]:
    found = batch.elements(json.dumps(body), path)
    return [part for part in map(json.loads, found or ()) if isinstance(part, dict)]


def _name_types(payloads: Sequence[dict[str, Any]]) -> bool:
    return bool(candidates.types([leaves(payload) for payload in payloads]))


def _types(told: Sequence[Leaves], before: PayloadMap) -> list[Candidate]:
    """The fields that name types; where none does, those that are called like one."""
    if found := candidates.types(told):
        return found
    names = [path for path in told[0] if all(isinstance(one.get(path), str) for one in told)] if told else []
    words = {path: {before.named(one[path]) for one in told} for path in names}
    return [Candidate(path, 1.0, "in your words") for path in names if words[path] <= set(events.BY_NAME)] or [
        Candidate(path, SURE, "is where types usually are, and names none that the kit knows")
        for path in names
        if path in ours().type
    ]


def _subject(
    learned: Learned, kind: str, payloads: Sequence[dict[str, Any]], keeps: _Keeper, choose: Choose
) -> Sequence[str]:
    """Add the entries of one kind; the paths of the object that describes it, none where that is open."""
    at = keeps(kind, "at", payloads, partial(_places, kind)) or learned.add(kind, "at", _places(kind, payloads), choose)
    if not at:
        return ()

    def fields(some: Sequence[dict[str, Any]]) -> dict[str, list[Candidate]]:
        return _fields(kind, [part for payload in some if (part := _part(payload, at)) is not None])

    def candidates_for(name: str, some: Sequence[dict[str, Any]]) -> Sequence[Candidate]:
        return fields(some).get(name, ())

    found = fields(payloads)
    for name in ours().subjects[kind].fields:
        if not keeps(kind, name, payloads, partial(candidates_for, name)):
            learned.add(kind, name, found.get(name, ()), choose)
    _look_for_numbers(learned, kind, [part for payload in payloads if (part := _part(payload, at)) is not None])
    return [path for path in at if path != "@"]


def _part(payload: dict[str, Any], at: Sequence[str]) -> dict[str, Any] | None:
    """The first object at one of the paths."""
    for path in at:
        if isinstance(part := payload if path == "@" else events.at_path(payload, path), dict):
            return part
    return None


def _fields(kind: str, parts: Sequence[dict[str, Any]]) -> dict[str, list[Candidate]]:
    """What the members of these objects may be, by the field of the view, the most likely first."""
    found: dict[str, list[Candidate]] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [part[name] for part in parts if part.get(name) is not None]
        guesses = [guess(kind, name, value) for value in values]
        first = guesses[0] if guesses else None
        if first and all(one and one.field == first.field for one in guesses):
            path = path_for(first.field, joined([name]), values[0])
            found.setdefault(first.field, []).append(Candidate(path, first.confidence, first.reason))
    return {name: sorted(some, key=lambda one: -one.confidence) for name, some in found.items()}


def _places(kind: str, payloads: Sequence[dict[str, Any]]) -> list[Candidate]:
    """The objects that may describe a subject: those with an id, by how many of its fields they have."""
    found: dict[str, int] = {}
    for payload in payloads:
        for path, value in _objects(payload, []):
            fields = {one.field for name, part in value.items() if (one := guess(kind, name, part))}
            if "id" in fields:
                found[path] = max(found.get(path, 0), len(fields))
    if not found:
        return []
    most = max(found.values())
    ranked = [
        Candidate(path, CALLED * count / most, f"has an id and {count - 1} more fields of [{kind}]")
        for path, count in found.items()
    ]
    return sorted(ranked, key=lambda one: -one.confidence)


def _objects(value: dict[str, Any], steps: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield joined(steps) if steps else "@", value
    if len(steps) < _DEEPEST:
        for name, part in value.items():
            if isinstance(part, dict):
                yield from _objects(part, [*steps, name])


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


def _look_for_numbers(learned: Learned, kind: str, parts: Sequence[dict[str, Any]]) -> None:
    for entry in learned.entries:
        if entry.table == kind and entry.name in _NUMBERED and not entry.reason.startswith("as it was"):
            values = [events.at_path(part, path) for part in parts for path in entry.chosen]
            if seen := sorted({str(value) for value in values if isinstance(value, int)}):
                learned.numbers.setdefault(kind, {})[entry.name] = seen


_MEANS = {"done": "completed", "opened": "created", "new": "created", "closed": "solved", "removed": "deleted",
          "begun": "started", "late": "overdue", "finished": "completed", "resolved": "solved"}  # fmt: skip


def nearest_type(words: str) -> str | None:
    """The type that the sender's words may mean, told by the names of subjects and of what happens to them."""
    word = events.normalised(words)
    subject = "action" if "action" in word or "issue" in word else "workorder" if "wo" in word else ""
    for told, meant in {
        **_MEANS,
        **{name.rpartition(".")[2]: name.rpartition(".")[2] for name in events.BY_NAME},
    }.items():
        name = events.canonical(subject + meant)
        if subject and word.endswith(events.normalised(told)) and name in events.BY_NAME:
            return name
    return None
