"""Which object of a payload describes its Work Order or Action, and which of its members are the fields of the view."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from receiver import events
from receiver.events.candidates import Candidate
from receiver.events.guesses import CALLED, guess, path_for
from receiver.events.paths import joined
from receiver.events.payload_file import ours
from receiver.learn.before import Keeper
from receiver.learn.learned import Choose, Learned

_DEEPEST = 3  # objects in each other in which a subject is looked for
_NUMBERED = ("status", "priority")


def add_subject(
    learned: Learned, kind: str, payloads: Sequence[dict[str, Any]], keeps: Keeper, choose: Choose
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
    meant = {name for name, field in keeps.before.subjects[kind].fields.items() if field.values}
    _look_for_numbers(learned, kind, [part for one in payloads if (part := _part(one, at)) is not None], meant)
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


def _look_for_numbers(learned: Learned, kind: str, parts: Sequence[dict[str, Any]], meant: AbstractSet[str]) -> None:
    """Note the numbers in fields that need words, but for those of which somebody has said what they mean."""
    for entry in learned.entries:
        if entry.table == kind and entry.name in _NUMBERED and entry.name not in meant:
            values = [events.at_path(part, path) for part in parts for path in entry.chosen]
            if seen := sorted({str(value) for value in values if isinstance(value, int)}):
                learned.numbers.setdefault(kind, {})[entry.name] = seen
