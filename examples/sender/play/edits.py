"""Changes payloads before sending: `--set work_order.name=Pump`, `--remove work_order.labels`."""

import copy
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from examples.sender.terminal import Refusal


class Edits:
    """Changes for events of different types.

    A field is removed from every payload that has it, and set in every payload that has the first step of its path, or
    in all payloads if none has. `like` are the payloads to change, or samples of them. Raises `Refusal` if none of them
    has a field to remove, which is probably a typing mistake.
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
        """Apply all changes to a payload."""
        for path in self.removals:
            if _has(payload, path):
                remove(payload, path)
        for top, change in self.changes:
            if top in payload or top in self._new:
                assign(payload, change)


def assign(payload: dict[str, Any], edit: str) -> None:
    """Apply `path=value`; the value is JSON, or plain text if it is not valid JSON."""
    path, equals, text = edit.partition("=")
    if not equals or not path.strip():
        raise Refusal(f"--set {edit}: expected path=value, such as work_order.name=Pump or priority=3")
    put(payload, path.strip(), _value(text))


def put(payload: dict[str, Any], path: str, value: Any) -> None:
    """Set a value at a dotted path; list items by number; missing objects are created."""
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
    """Remove the value at a dotted path; raises `Refusal` if there is none."""
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
    """A JSON body with a line for each field, for editing; any other body unchanged."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2).encode()
    except ValueError:
        return body
