"""Hides values of a payload at given paths: in the audit log (AUDIT_MASK) and in the console (CONSOLE_MASK)."""

from collections.abc import Iterable, Iterator
from typing import Any

from receiver import events
from receiver.events.payload_map import PayloadMap

MASKED = "***"


def masked(payload: Any, paths: Iterable[str], where: PayloadMap) -> Any:
    """A copy of the payload with the values at the dotted paths replaced.

    Names match in any case and spelling (`work_order`, `workOrder`). `*` stands for every item of a list or object, and
    may be left out for a list. A text or number where the path goes deeper is hidden completely.
    """
    for path in paths:
        for place in _places(path, where):
            payload = _masked(payload, [step if step == "*" else events.normalised(step) for step in place.split(".")])
    return payload


def _places(path: str, where: PayloadMap) -> Iterator[str]:
    """The places of a path: one into a Work Order or an Action applies wherever the kit looks for these objects."""
    first, dot, rest = path.partition(".")
    kinds = {events.normalised(kind): subject.at for kind, subject in where.subjects.items()}
    for place in kinds.get(events.normalised(first), (first,)):
        yield f"{place}{dot}{rest}"


def _masked(value: Any, steps: list[str]) -> Any:
    if value is None:
        return None
    if not steps:
        return MASKED
    step, rest = steps[0], steps[1:]
    if isinstance(value, list):
        return [_masked(item, rest if step == "*" else steps) for item in value]
    if not isinstance(value, dict):
        return MASKED
    if step == "*" and rest:  # a single object in place of a list
        value = _masked(value, rest)
    return {
        name: _masked(item, rest) if step in {"*", events.normalised(name)} else item for name, item in value.items()
    }
