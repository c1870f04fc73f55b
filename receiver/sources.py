"""The words of IDEMPOTENCY_SOURCES: how the key of each is found in a request.

| word | key |
|---|---|
| `event-id` | the event id in the body, where the payload map has it |
| `webhook-id` | the Standard Webhooks header |
| `cloudevents` | `ce-source` and `ce-id` together: only the pair is unique |
| `idempotency-key` | the header |
| `body` | SHA-256 of the content (`Delivery.digest`) |
| `body:meta.eventId` | any other field of the body, by its path |
| `body-without:sentAt,try.no` | SHA-256 of the content without these fields, which change from attempt to attempt |
| `header:x-event-id` | any other header |
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from receiver import events
from receiver.events.paths import DOTTED, Paths
from receiver.events.payload_map import PayloadMap

BODY = "body"
"""The source of a key that is the content's own SHA-256: events that read alike share it, so its window is short."""
BODY_WITHOUT = "body-without:"
"""Begins a source that is the same without fields that change from attempt to attempt."""
CHANGING_HEADERS = frozenset({"x-request-id", "x-correlation-id", "traceparent", "tracestate", "date"})
"""A proxy sets these anew on every attempt, so that no two attempts would ever share a key."""
Find = Callable[[Mapping[str, str], Any], str | None]
"""The key in headers (by lower-case name) and payload; None where there is none."""
_ALONE = frozenset({"event-id", "webhook-id", "cloudevents", "idempotency-key", BODY})


def finder(word: str, where: PayloadMap) -> Find | None:
    """How to find the key of one source; None means the body's hash. Raises ValueError on a word unknown."""
    kind, _, name = word.partition(":")
    if word == BODY:
        return None
    if word == "event-id":
        return lambda _, payload: where.id_of(payload)
    if word == "cloudevents":
        return _cloudevents
    if word in {"webhook-id", "idempotency-key"}:
        return lambda headers, _: _text(headers.get(word))
    if word.startswith((BODY_WITHOUT, "body:")) and (find := _in_body(kind, name)):
        return find
    if kind == "header" and re.fullmatch(r"[A-Za-z0-9-]+", name):
        if name.lower() in CHANGING_HEADERS:
            raise ValueError(
                f"expected another header: {word!r} changes on every attempt, so no duplicate would be seen"
            )
        return lambda headers, _: _text(headers.get(name.lower()))
    raise ValueError(
        "expected event-id, webhook-id, cloudevents, idempotency-key, body, body-without:<path>,<path>, body:<path> or "
        f"header:<name>; {word!r} is no source"
    )


def _in_body(kind: str, name: str) -> Find | None:
    """How to find a key in the body; None where no field is named. Raises ValueError for what is no path."""
    if kind == "body":
        field = Paths((name,) if name else ())
        return (lambda _, payload: field.text(payload)) if field else None
    paths = [path.split(".") for path in name.split(",") if DOTTED.fullmatch(path)]
    if len(paths) != name.count(",") + 1:
        raise ValueError(f"expected dotted paths, such as {BODY_WITHOUT}sentAt,meta.attempt, got {name!r}")
    return lambda _, payload: _digest_without(payload, paths)


def is_by_content(source: str) -> bool:
    """Whether a key of this source says no more than that two bodies read alike: its window is short."""
    return source == BODY or source.startswith(BODY_WITHOUT)


def words_of(parts: Iterable[str]) -> list[str]:
    """The sources in a list that was separated by commas, which are in `body-without:sentAt,attempt`, too.

    A part that is no source of its own belongs to the `body-without` before it.
    """
    words: list[str] = []
    for part in parts:
        inside = words and words[-1].startswith(BODY_WITHOUT)
        if inside and part not in _ALONE and ":" not in part:
            words[-1] += f",{part}"
        else:
            words.append(part)
    return words


def _digest_without(payload: Any, paths: Sequence[Sequence[str]]) -> str | None:
    """SHA-256 of what an object says besides what is at the paths; in whatever order and spacing."""
    if not isinstance(payload, dict):
        return None
    for steps in paths:
        payload = _without(payload, steps)
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))  # ASCII: a lone surrogate, too, can be encoded
    return hashlib.sha256(text.encode()).hexdigest()


def _without(payload: dict[str, Any], steps: Sequence[str]) -> dict[str, Any]:
    name, *rest = steps
    if not rest:
        return {key: value for key, value in payload.items() if key != name}
    inner = payload.get(name)
    return {**payload, name: _without(inner, rest)} if isinstance(inner, dict) else payload


def _text(value: str | None) -> str | None:
    return (value or "").strip() or None


def _cloudevents(headers: Mapping[str, str], payload: Any) -> str | None:
    source, event_id = _text(headers.get("ce-source")), _text(headers.get("ce-id"))
    if not (source and event_id) and headers.get("content-type", "").startswith("application/cloudevents+json"):
        source, event_id = events.first_text(payload, ("source",)), events.first_text(payload, ("id",))
    return f"{source}|{event_id}" if source and event_id else None
