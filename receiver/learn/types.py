"""Which events samples hold, and which of their fields names the type."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from receiver import events
from receiver.events import batch, candidates
from receiver.events.candidates import Candidate, Leaves, leaves
from receiver.events.paths import DOTTED
from receiver.events.payload_file import ours
from receiver.events.payload_map import PayloadMap
from receiver.learn.learned import SURE, Learned

_DEEPEST = 3  # objects in each other in which a batch is looked for


def events_in(bodies: Sequence[Any], given: str | None) -> Learned:
    """The events in bodies, which may come in batches: at the path that is given, as the receiver parts them, or where
    the parts name types and the bodies do not.
    """
    if given:
        return Learned([part for body in bodies for part in _parts(body, given) or [body] if isinstance(part, dict)])
    whole = [body for body in bodies if isinstance(body, dict)]
    for path in () if _name_types(whole) else ("@", *dict.fromkeys(path for body in whole for path in _lists(body))):
        parts = [part for body in bodies for part in _parts(body, path)]
        if _name_types(parts):
            return Learned(parts, batch=path)
    return Learned(whole)


def _lists(value: Any, *steps: str) -> Iterator[str]:
    """The paths of the lists in a body, through objects of names that a path can have."""
    if isinstance(value, list) and DOTTED.fullmatch(".".join(steps)):
        yield ".".join(steps)
    elif isinstance(value, dict) and len(steps) < _DEEPEST:
        for name, part in value.items():
            yield from _lists(part, *steps, name)


def _parts(body: Any, path: str) -> list[dict[str, Any]]:
    found = batch.elements(json.dumps(body), path)
    return [part for part in map(json.loads, found or ()) if isinstance(part, dict)]


def _name_types(payloads: Sequence[dict[str, Any]]) -> bool:
    return bool(_naming_types([leaves(payload) for payload in payloads]))


def _naming_types(told: Sequence[Leaves]) -> list[Candidate]:
    """The fields that name types in all payloads, or else in those that name one, if these are most of them: a test
    message among them is no event.
    """
    naming = [one for one in told if any(events.canonical(word) in events.BY_NAME for word in _texts(one))]
    return candidates.types(told) or (candidates.types(naming) if 2 * len(naming) > len(told) else [])


def _texts(one: Leaves) -> Iterator[str]:
    return (value for value in one.values() if isinstance(value, str))


def type_fields(told: Sequence[Leaves], before: PayloadMap) -> list[Candidate]:
    """The fields that name types; where none does, those that are called like one."""
    if found := _naming_types(told):
        return found
    names = [path for path in told[0] if all(isinstance(one.get(path), str) for one in told)] if told else []
    words = {path: {before.named(one[path]) for one in told} for path in names}
    return [Candidate(path, 1.0, "in your words") for path in names if words[path] <= set(events.BY_NAME)] or [
        Candidate(path, SURE, "is where types usually are, and names none that the kit knows")
        for path in names
        if path in ours().type
    ]


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
