"""What an event means to a target: its Work Order and the update's body, checked before anything is sent."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from examples.handlers.external_system.target import Json, Target, Unmappable
from worker import Event, WorkOrder

_HALF = re.compile("[\ud800-\udfff\uffff]")
_MARK = "\uffff"  # a Unicode noncharacter, reserved for a program's own use


def build(event: Event, target: Target) -> tuple[str, WorkOrder, Json]:
    """The event's Work Order, its id first, and the body of its update. Raises `Unmappable`."""
    try:
        event = replace(event, payload=_marked(event.payload))
        if event.subject is None or (order := event.work_order) is None:
            raise Unmappable("the event names no Work Order")
        body = dict(_checked(target.body(event, order), "", target))
    except RecursionError:
        raise Unmappable("the event's data is nested too deeply") from None
    if missing := [name for name in target.required if name not in body]:
        raise Unmappable(f"the event has nothing for the target's field {', '.join(missing)}, which is required")
    return event.subject.id, order, body


def _marked(value: Any) -> Any:
    """The same JSON with every half of a surrogate pair marked: it has no UTF-8 form, and a view would hide it."""
    match value:
        case str():
            return _HALF.sub(_MARK, value)
        case list():
            return [_marked(item) for item in value]
        case dict():
            return {name: _marked(item) for name, item in value.items()}
    return value


def _checked(fields: Json, prefix: str, target: Target) -> Iterator[tuple[str, Any]]:
    """The fields that have a value. Raises `Unmappable` for one that JSON or the target does not take."""
    for name, value in fields.items():
        if value is not None:
            yield _value(name, prefix, target), _value(value, f"{prefix}{name}", target)


def _value(value: Any, name: str, target: Target) -> Any:
    match value:
        case dict():
            return dict(_checked(value, f"{name}.", target))
        case list():
            return [_value(item, name, target) for item in value]
        case datetime():
            return value.isoformat()
        case float() if not math.isfinite(value):
            raise Unmappable(f"the target's field {name} would be a number that JSON does not know")
        case str() if _HALF.search(value):
            raise Unmappable(f"the target's field {name} would hold half a character, which has no UTF-8 form")
        case str() if len(value.encode("utf-16-le")) > 2 * target.longest.get(name, math.inf):
            raise Unmappable(f"the target's field {name} is longer than {target.longest[name]} characters")
    return value
