"""Changing a payload on the way out: `--set work_order.name=Pump`, `--remove work_order.labels`."""

import json
from typing import Any

from examples.sender.terminal import Refusal


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
