"""Which field of payloads that nobody has described says what happened, when, and which event it is: by looking.

Payloads are given as their leaves, because a field is told by its path and by what it holds in every one of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any, NamedTuple

from receiver import events
from receiver.events import times
from receiver.events.guesses import ALIKE, CALLED, event_guess
from receiver.events.paths import joined
from receiver.events.payload_file import ours

_LIST_ITEM = re.compile(r"(^|\.)\d+(\.|$)")
Leaves = Mapping[str, Any]


class Candidate(NamedTuple):
    """A path, how sure it is (0 to 1), and why."""

    path: str
    confidence: float
    reason: str


def leaves(payload: Any) -> dict[str, Any]:
    """Every value of a JSON object by its path, items of lists by number; nothing for any other value."""
    return dict(_walk(payload, [])) if isinstance(payload, dict) else {}


def _walk(value: Any, steps: list[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for step, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _walk(part, [*steps, str(step)])
    else:
        yield joined(steps), value


def _of_objects(told: Sequence[Leaves]) -> list[str]:
    """The paths that lead through objects only: a place in a list is no field."""
    return [name for name in dict.fromkeys(name for one in told for name in one) if not _LIST_ITEM.search(name)]


def types(told: Sequence[Leaves]) -> list[Candidate]:
    """The fields that name one of Glartek's types, among those that every payload has: the most often first."""
    fields = [name for name in _of_objects(told) if all(isinstance(one.get(name), str) for one in told)]
    named = {name: sum(events.canonical(one[name]) in events.BY_NAME for one in told) for name in fields}
    found = sorted(
        (name for name in named if named[name]),
        key=lambda name: (-named[name], name not in ours().type, name.count(".")),
    )
    return [
        Candidate(
            name,
            _sure(name) * (0.7 + 0.3 * named[name] / len(told)),
            f"names a type of Glartek's in {named[name]} of {len(told)}",
        )
        for name in found
    ]


def moments(told: Sequence[Leaves], is_steady: Callable[[str], bool] = lambda _: True) -> list[Candidate]:
    """The fields near the top that hold a time wherever they are; the likeliest for when it happened first."""
    found = []
    for name in (name for name in _of_objects(told) if name.count(".") <= 1):
        values = [one[name] for one in told if one.get(name) is not None]
        if values and all(is_moment(value) for value in values) and is_steady(name):
            guess = event_guess(name.rpartition(".")[2], values[0])
            sure = CALLED if name in ours().time else guess.confidence if guess else ALIKE
            found.append(Candidate(name, sure * (0.5 + 0.5 * len(values) / len(told)), _in_how_many(values, told)))
    return sorted(found, key=lambda one: (-one.confidence, "occur" not in one.path, one.path.count(".")))


def ids(told: Sequence[Leaves]) -> list[Candidate]:
    """The fields that are named like an id, are in every payload, and have another value in each."""
    found = []
    for name in _of_objects(told):
        values = [one.get(name) for one in told]
        guess = event_guess(name.rpartition(".")[2], values[0])
        if guess and guess.field == "id" and None not in values and len({*map(str, values)}) == len(values):
            sure = CALLED if name in ours().id[:-1] else guess.confidence
            sure += min(0.3, 0.05 * (len(values) - 1)) - 0.1 * name.count(".")
            alone = " (one payload proves little)" if len(told) == 1 else ", another one in each"
            found.append(Candidate(name, max(min(sure, CALLED), 0.1), f"{guess.reason}; in all {len(told)}{alone}"))
    return sorted(found, key=lambda one: -one.confidence)


def is_moment(value: Any) -> bool:
    """Whether a value is a time: as text that begins as a date does, or as a Unix time."""
    if isinstance(value, str) and value[:4].isdecimal() and value[4:5] == "-":
        return times.read(value, UTC) is not None
    return isinstance(value, int | float | str) and times.read(value) is not None


def _sure(path: str) -> float:
    return CALLED if path in ours().type else CALLED - 0.05


def rivals(found: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that are about as likely as the best one; one alone if it is clear."""
    return [one for one in found if one.confidence >= found[0].confidence - 0.01] if found else []


def _in_how_many(values: Sequence[Any], told: Sequence[Leaves]) -> str:
    return f"holds a time in {len(values)} of {len(told)}"
