"""What AUDIT_MASK hides: values are replaced in the parsed payload, and the event is read anew from what is left.

So nothing of a hidden value reaches a column, a hash or the stored payload, which is the masked text, not the raw one.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from worker import Event, Settings, events, parse

MASKED = "***"


def hidden(event: Event, paths: Iterable[str], settings: Settings) -> Event:
    """The event as if it had arrived with `MASKED` at the paths."""
    text = json.dumps(masked(event.payload, paths), ensure_ascii=False)  # an event is not nested too deeply for either
    return parse(text.encode("utf-8", "backslashreplace"), settings)  # JSON spells a lone surrogate the same way


def masked(payload: Any, paths: Iterable[str]) -> Any:
    """A copy of the payload with the values at the dotted paths replaced.

    Names match in any case and spelling (`work_order`, `workOrder`); a list is entered with or without `*`, which
    stands for every item of a list or object; a text or number where a path expects more is hidden as a whole.
    """
    for path in paths:
        for place in _places(path):
            payload = _masked(payload, [step if step == "*" else events.normalised(step) for step in place.split(".")])
    return payload


def _places(path: str) -> Iterator[str]:
    """A path into a Work Order or an Action holds wherever the kit looks for one, such as `data.work_order`."""
    first, dot, rest = path.partition(".")
    kinds = {events.normalised(kind): places for kind, places in events.SUBJECT_FIELDS.items()}
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
    if step == "*" and rest:  # one object where a list of them was expected
        value = _masked(value, rest)
    return {
        name: _masked(item, rest) if step in {"*", events.normalised(name)} else item for name, item in value.items()
    }
