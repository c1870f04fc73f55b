"""What the kit makes of a body, and why: every field with the path that it came from, and what was not understood.

One report for each event; `python -m receiver explain` prints it, and asks the worker's package, where there is one,
what its handlers would do.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from receiver import batches, content, events
from receiver.delivery import Delivery
from receiver.events import times
from receiver.events.guesses import event_guess, guess, path_for
from receiver.events.paths import DOTTED, joined
from receiver.events.payload_map import PayloadMap
from receiver.payload_settings import PayloadSettings
from receiver.visible import LONGEST, to_json

MOST_SHOWN = 50
"""Fields that were not understood, in one report."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def reports(config: PayloadSettings, headers: Mapping[str, str], body: bytes) -> list[dict[str, Any]]:
    """What is made of one body: of each of its events where it is a batch."""
    rule = config.idempotency_rule()
    deliveries = batches.deliveries(rule, headers, body, 0)
    return [
        {
            "part": delivery.more.get("part"),
            "delivery": delivery.id,
            "source": delivery.source,
            "key": delivery.key,
            "keys": dict(rule.all_keys(delivery.headers if delivery.more else headers, delivery.body)),
            "type": delivery.event_type,
            "known": delivery.event_type in events.BY_NAME,
            "subject": delivery.subject,
            "bytes": len(delivery.body),
            **_read(config, delivery),
        }
        for delivery in deliveries
    ]


def _read(config: PayloadSettings, delivery: Delivery) -> dict[str, Any]:
    """What the worker would read in a delivery, or why it would not."""
    limit = config.max_body_bytes
    if len(delivery.body) > limit:
        return {"unreadable": f"the body is larger than MAX_BODY_BYTES ({limit}): the receiver answers 413"}
    try:
        batches.check_parted(delivery, config.where.batch, limit)
        payload, _ = content.read(delivery.headers, delivery.body, limit)
    except content.Unreadable as error:
        return {"unreadable": str(error)}
    return {"unreadable": None, **told(config.where, payload)}


def told(where: PayloadMap, payload: dict[str, Any]) -> dict[str, Any]:
    """Where each thing was found in a payload, and what was not understood."""
    event_type = where.type_of(payload)
    kind = events.subject_kind(event_type)
    used, fields = _fields(where, payload, kind)
    time, why_not = _time(where, payload)
    return {
        "type_from": _type_from(where, payload),
        "time": time,
        "time_from": why_not,
        "subject_from": _subject_from(where, payload, kind),
        "fields": fields,
        "missing": [name for name in where.subjects[kind].fields if name not in fields] if kind else [],
        "not_understood": list(_others(where, payload, kind, used)),
    }


def _type_from(where: PayloadMap, payload: Any) -> str:
    words = where.type.text(payload)
    if words is None:
        return f"none of {', '.join(where.type)} has a text"
    path = next(path for path, value in where.type.found(payload) if str(value).strip())
    name, words = where.named(words), _cut(words)
    if name not in events.BY_NAME:
        return f"{path}: {words!r} is no type that the kit knows; [types] of PAYLOAD_MAP can say which it is"
    if events.canonical(words) != name:  # a word of the customer's, and none of ours
        return f"{path}: {words!r} is one of your words for it, [types] of PAYLOAD_MAP"
    title = events.BY_NAME[name].title
    how = "the kit's name" if words == name else "Glartek's title" if words == title else "the same in other letters"
    return f"{path}: {words!r} is {how}"


def _time(where: PayloadMap, payload: Any) -> tuple[str | None, str]:
    """The event's time, and the path that it came from or why there is none."""
    reasons = []
    for path, value in where.time.found(payload):
        if where.zone is None and times.has_no_offset(value):
            reasons.append(f"{path}: {_cut(value)!r} has no offset; set time_zone in [event] of PAYLOAD_MAP")
        elif (time := times.read(value, where.zone)) is None:
            reasons.append(f"{path}: {_cut(value)!r} is no time that can be read")
        else:
            return time.isoformat(), f"{path}: {value!r}"
    return None, "; ".join(reasons) or f"none of {', '.join(where.time)} has a value"


def _subject_from(where: PayloadMap, payload: Any, kind: str | None) -> str:
    if kind is None:
        return "its type does not say whether it is about a Work Order or an Action"
    subject = where.subjects[kind]
    part = subject.part(payload)
    if part is None:
        return f"none of {', '.join(subject.at)} is an object"
    at = next(path for path, value in subject.at.found(payload) if isinstance(value, dict))
    if subject.id.text(part) is None:
        return f"{at}: none of {', '.join(subject.id)} has a text in it"
    return f"{at}: {next(path for path, value in subject.id.found(part) if str(value).strip())}"


def _fields(where: PayloadMap, payload: Any, kind: str | None) -> tuple[set[str], dict[str, Any]]:
    """The paths in the subject that were used, and each field with its value and its path."""
    subject = where.subjects[kind] if kind else None
    part = subject.part(payload) if subject else None
    if subject is None or part is None:
        return set(), {}
    found = {}
    for name, field in subject.fields.items():
        for path, value in field.found(part, payload):
            found[name] = {"value": _cut(value), "from": path}
            break
    return {field["from"] for field in found.values()}, found


def _cut(value: Any) -> Any:
    """A value as a report shows it: a report is read by a person."""
    text = value if isinstance(value, str) else to_json(value, indent=None)
    return value if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _others(where: PayloadMap, payload: dict[str, Any], kind: str | None, used: set[str]) -> Iterator[dict[str, Any]]:
    """The fields that nothing was made of, each with the nearest guess."""
    subject = where.subjects[kind] if kind else None
    part = subject.part(payload) if subject else None
    tops = {path for paths in (where.id, where.type, where.time, where.actor) for path, _ in paths.found(payload)}
    tops |= {path.removeprefix("$.") for path in used if path.startswith("$.")}
    names = {name for path in tops for name in _names(path)}
    in_subject = {name for path in used for name in _names(path)}
    unused = (one for one in _unused(payload, part, names, in_subject) if one[1] is not None)
    for path, value, is_inside in itertools.islice(unused, MOST_SHOWN):
        yield {"path": _cut(path), "guess": _guessed(kind, path, value, inside=is_inside)}


def _unused(payload: dict[str, Any], part: Any, tops: set[str], in_part: set[str]) -> Iterator[tuple[str, Any, bool]]:
    """(path, value, whether it is in the subject) of what no path leads to, outside of the subject and in it.

    The paths of what is in the subject begin there.
    """

    def walk(value: dict[str, Any], steps: list[str]) -> Iterator[tuple[str, Any, bool]]:
        for name, inner in value.items():
            if inner is not part and isinstance(inner, dict) and _holds(inner, part):
                yield from walk(inner, [*steps, name])
            elif inner is not part and not (not steps and name in tops) and name != "$comment":
                yield joined([*steps, name]), inner, False

    if payload is not part:
        yield from walk(payload, [])
    used = in_part | tops if payload is part else in_part
    yield from ((joined([name]), inner, True) for name, inner in (part or {}).items() if name not in used)


def _holds(value: dict[str, Any], part: Any) -> bool:
    return any(inner is part or (isinstance(inner, dict) and _holds(inner, part)) for inner in value.values())


def _names(path: str) -> list[str]:
    """The names that a path begins with; of an expression, every name in it."""
    return [path.partition(".")[0], *([] if DOTTED.fullmatch(path) else _NAME.findall(path))]


def _guessed(kind: str | None, path: str, value: Any, *, inside: bool) -> Any:
    name = path.rpartition(".")[2]
    if not inside and (found := event_guess(name, value)):
        return _cut(f'perhaps [event] {found.field} = "{path}": {found.reason}')
    if kind is None or (found := guess(kind, name, value)) is None or (found.field == "id" and not inside):
        return None
    written = path_for(found.field, path if inside else f"$.{path}", value)
    return _cut(f'perhaps [{kind}] {found.field} = "{written}": {found.reason}')
