"""Changing a payload on the way out: `--set work_order.name=Pump`, `--remove work_order.labels`."""

import copy
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from examples.sender.terminal import Refusal


class Edits:
    """Changes for events of different types: each goes where there is something for it.

    A field is removed from every payload that has it, and set in every payload that has its first step, or in all
    of them when none has. `like` are the payloads to come, or samples of them; raises `Refusal` when a removal leads
    nowhere in all of them, for then it is a typing mistake.
    """

    def __init__(
        self, changes: Iterable[str] | None, removals: Iterable[str] | None, like: Collection[Mapping[str, Any]]
    ) -> None:
        self.changes = [(_top(change), change) for change in changes or ()]
        self.removals = list(removals or ())
        self._new = {top for top, _ in self.changes if not any(top in payload for payload in like)}
        for path in self.removals:
            if not any(_has(payload, path) for payload in like):
                remove(copy.deepcopy(dict(next(iter(like)))), path)

    def apply(self, payload: dict[str, Any]) -> None:
        """Carry them out."""
        for path in self.removals:
            if _has(payload, path):
                remove(payload, path)
        for top, change in self.changes:
            if top in payload or top in self._new:
                assign(payload, change)


def assign(payload: dict[str, Any], edit: str) -> None:
    """Carry out `path=value`; the value is JSON or else plain text."""
    path, equals, text = edit.partition("=")
    if not equals or not path.strip():
        raise Refusal(f"--set {edit}: expected path=value, such as work_order.name=Pump or priority=3")
    put(payload, path.strip(), _value(text))


def put(payload: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a dotted path; list items go by number, objects that are missing are made."""
    *steps, last = path.split(".")
    holder: Any = payload
    for number, step in enumerate(steps):
        holder = holder.setdefault(step, {}) if isinstance(holder, dict) else _item(holder, step, path, number)
    if isinstance(holder, list):
        holder[_index(holder, last, path)] = value
    elif isinstance(holder, dict):
        holder[last] = value
    else:
        raise Refusal(f"--set {path}: {'.'.join(steps)} is neither an object nor a list, so it has no {last!r}")


def remove(payload: dict[str, Any], path: str) -> None:
    """Take away what is at a dotted path; a path that leads nowhere is refused, for it is a typing mistake."""
    *steps, last = path.strip().split(".")
    holder: Any = payload
    for number, step in enumerate(steps):
        holder = _item(holder, step, path, number)
    if isinstance(holder, list):
        del holder[_index(holder, last, path)]
    elif isinstance(holder, dict) and last in holder:
        del holder[last]
    else:
        raise Refusal(f"{path}: there is nothing there; {_fields(holder)}")


def _top(change: str) -> str:
    return change.partition("=")[0].strip().partition(".")[0]


def _has(payload: Any, path: str) -> bool:
    holder = payload
    for step in path.strip().split("."):
        if isinstance(holder, dict) and step in holder:
            holder = holder[step]
        elif isinstance(holder, list) and step.isdecimal() and int(step) < len(holder):
            holder = holder[int(step)]
        else:
            return False
    return True


def _item(holder: Any, step: str, path: str, number: int) -> Any:
    if isinstance(holder, list):
        return holder[_index(holder, step, path)]
    if isinstance(holder, dict) and step in holder:
        return holder[step]
    where = ".".join(path.split(".")[:number]) or "the payload"
    raise Refusal(f"{path}: {where} has no {step!r}; {_fields(holder)}")


def _index(holder: list[Any], step: str, path: str) -> int:
    if step.isdecimal() and int(step) < len(holder):
        return int(step)
    raise Refusal(f"{path}: {step!r} is not an item of this list; expected a number from 0 to {len(holder) - 1}")


def _fields(holder: Any) -> str:
    return f"it has {', '.join(holder)}" if isinstance(holder, dict) and holder else "it has no fields"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def pretty(body: bytes) -> bytes:
    """A JSON body with a line for each field, for a person to edit; any other body as it is."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2).encode()
    except ValueError:
        return body
