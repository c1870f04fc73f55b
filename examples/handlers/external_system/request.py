"""What is sent for an event: a pure function from event and target to URL, headers and body."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from examples.handlers.external_system.target import FieldRule, Fields, Target, fill, placeholders
from receiver import events
from worker import Event

_LONGEST_IN_URL = 500  # characters of one value


class Unmappable(Exception):
    """The event lacks what the target requires; the message names the path, never a value."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request but for what only the target knows: `path` may hold `{lookup}`."""

    work_order: str
    method: str
    path: str
    lookup_path: str | None
    headers: Mapping[str, str]
    body: dict[str, Any]


def build(event: Event, target: Target, idempotency_key: str) -> Prepared:
    """The request for an event. Raises `Unmappable`."""
    if event.subject is None or event.subject.kind != "work_order":
        raise Unmappable("the event names no Work Order")
    document = _document(event)
    body = _body(target.fields, document, document)
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise Unmappable("the event holds a value that JSON does not know, such as NaN or half a character") from None
    headers = {"content-type": "application/json", **target.headers}
    if target.idempotency_header:
        headers[target.idempotency_header] = idempotency_key
    return Prepared(
        work_order=event.subject.id,
        method=target.method,
        path=_filled(target.path, document),
        lookup_path=_filled(target.lookup.path, document) if target.lookup else None,
        headers=headers,
        body=body,
    )


def at(document: Any, path: str) -> Any:
    """The value at a dotted path, numbers being places in a list; None when there is none."""
    for step in path.split("."):
        if isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        elif isinstance(document, dict):
            document = document.get(step)
        else:
            return None
    return document


def _document(event: Event) -> dict[str, Any]:
    """Where a target's paths start: the payload, with the Work Order and the event's own fields in known places."""
    time = event.occurred_at
    return {
        **event.payload,
        "work_order": events.subject_fields(event.payload, "work_order"),
        "event": {"id": event.id, "type": event.type, "occurred_at": time.isoformat() if time else None},
    }


def _filled(template: str, document: dict[str, Any]) -> str:
    """The template with every value percent-encoded, so that no id can lead elsewhere."""
    values = {"lookup": "{lookup}"}
    for path in placeholders(template):
        if path != "lookup":
            value = _required_text(path, document)
            if f"'{{{path}}}'" in template:  # an OData key: a quote within quotes is doubled
                value = value.replace("'", "''")
            values[path] = quote(value, safe="")
    return fill(template, values)


def _required_text(path: str, document: dict[str, Any]) -> str:
    value = at(document, path)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip(". "):
        raise Unmappable(f"the event has nothing at {path}, which the target's URL needs")
    text = str(value)
    if len(text) > _LONGEST_IN_URL:
        raise Unmappable(f"the event's {path} is too long for the target's URL: more than {_LONGEST_IN_URL} characters")
    return text.encode("utf-8", "replace").decode()


def _body(fields: Fields, document: Any, root: Any) -> dict[str, Any]:
    body = {}
    for name, rule in fields.items():
        value = _value(rule, document, root)
        if value is None and rule.required:
            raise Unmappable(f"the event has nothing for the target's field {name}, which is required")
        if value is not None:
            body[name] = value
    return body


def _value(rule: FieldRule, document: Any, root: Any) -> Any:
    if rule.each is not None and rule.fields is not None:
        items = at(document, rule.each)
        return [_body(rule.fields, item, root) for item in items] if isinstance(items, list) else None
    value = _source(rule, document)
    if value is None and rule.default is not None:
        value = at(root, rule.default)
    if rule.map is not None and isinstance(value, str):
        value = rule.map.get(value, value)
    if rule.format is not None:
        value = _formatted(rule.format, value)
    if rule.max_length is not None and isinstance(value, str):
        value = value[: rule.max_length]
    return value


def _source(rule: FieldRule, document: Any) -> Any:
    if rule.text is not None:
        words = {path: _words(at(document, path)) for path in placeholders(rule.text)}
        return fill(rule.text, words) if any(words.values()) or not words else None
    return rule.value if rule.from_ is None else at(document, rule.from_)


def _words(value: Any) -> str:
    """A value within a text: nothing for what is no word, such as a list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float)) else ""


def _formatted(wanted: str, value: Any) -> Any:
    """A time in the target's own writing; None when it is no time with an offset."""
    try:
        time = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return None
    if time.tzinfo is None:
        return None
    if wanted == "date":
        return time.date().isoformat()
    if wanted == "utc":
        return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if wanted == "odata":  # Edm.DateTimeOffset in OData V2's JSON: milliseconds, and the offset in minutes
        return f"/Date({int(time.timestamp() * 1000)}+0000)/"
    return int(time.timestamp())
