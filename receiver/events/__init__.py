"""Glartek's catalog: the eleven event types, their aliases, where a payload's fields are, one sample each.

The titles and triggers are Glartek's. The names on the wire, the field paths and the samples are *ours*: Glartek
does not document its payloads ("please contact Glartek for a detailed description and example payloads"), so
every place that depends on them is in this file or in a setting that overrides it.

An event's type stays a string: webhooks are "under active development", more types will come, and an unknown one
is accepted, kept and given to the handlers that asked for every event.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True, slots=True)
class EventType:
    """One of Glartek's event types: our `name` for it, Glartek's `title`, and when it is triggered."""

    name: str
    title: str
    trigger: str
    aliases: tuple[str, ...] = ()

    def sample(self) -> dict[str, Any]:
        """The sample payload of this type: the kit's own invention, not Glartek's documented schema."""
        payload: dict[str, Any] = json.loads((SAMPLES / f"{self.name}.json").read_text(encoding="utf-8"))
        payload.pop("$comment")  # says in the file whose invention it is; not part of the payload
        return payload


CATALOG: tuple[EventType, ...] = (
    EventType("work_order.created", "Work Order Created", "a new Work Order is created"),
    EventType("work_order.started", "Work Order Started", "work officially begins"),
    EventType(
        "work_order.overdue",
        "Work Order Overdue (Pending)",
        "the deadline for starting has passed",
        ("Work Order Overdue",),
    ),
    EventType("work_order.updated", "Work Order Updated", "it has updates, e.g. task status and responses"),
    EventType("work_order.completed", "Work Order Completed", "its status changes to 'Done' or 'Completed'"),
    EventType("work_order.deleted", "Work Order Deleted", "it is deleted"),
    EventType(
        "work_order.assigned",
        "Work Order Assigned",
        "it is assigned or re-assigned to a user",
        ("Work Oder Assigned",),  # Glartek's page spells it so
    ),
    EventType("action.created", "Action Created", "a new Action is created"),
    EventType("action.in_progress", "Action In Progress", "status changes to 'In Progress'"),
    EventType("action.solved", "Action Solved", "status changes to 'Solved'"),
    EventType("action.cant_do", "Action Can't Do", "status changes to 'Can't Do'"),
)
BY_NAME: Mapping[str, EventType] = {event_type.name: event_type for event_type in CATALOG}

# Where a payload's fields may be, as dotted paths; the first one present wins. These are guesses at an undocumented
# schema, made to fit the common envelopes; EVENT_ID_PATHS, EVENT_TYPE_PATHS and OCCURRED_AT_PATHS replace them.
EVENT_ID_PATHS = ("event_id", "eventId", "event.id", "id")
EVENT_TYPE_PATHS = ("type", "event_type", "eventType", "webhook_type", "webhookType", "event.type", "event")
OCCURRED_AT_PATHS = (
    "occurred_at", "occurredAt", "event.occurred_at", "event_time", "eventTime", "timestamp", "time",
)  # fmt: skip
SUBJECT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "work_order": ("work_order", "workOrder", "data.work_order", "data.workOrder", "data"),
    "action": ("action", "data.action", "data"),
}


def normalised(words: str) -> str:
    """Letters and digits only, in lower case: titles arrive in any case and punctuation."""
    return "".join(character for character in words.casefold() if character.isalnum())


_NAMES: Mapping[str, str] = {
    normalised(words): event_type.name
    for event_type in CATALOG
    for words in (event_type.name, event_type.title, *event_type.aliases)
}


def canonical(words: str) -> str:
    """Our name for a type in the sender's own words, or those words unchanged when we know no such type."""
    return _canonical(words) if len(words) <= _LONGEST_NAME else words


_LONGEST_NAME = 100  # characters, punctuation and all; longer ones are nobody's name, and must not fill the cache


@lru_cache(maxsize=1024)  # bounded: the words come from outside
def _canonical(words: str) -> str:
    return _NAMES.get(normalised(words), words)


def type_of(payload: Any, paths: Iterable[str]) -> str:
    """The event type that a payload names, ours or in the sender's own words; "" when it names none."""
    return canonical(first_text(payload, paths) or "")[:_LONGEST_NAME]


def subject_kind(event_type: str) -> str | None:
    """`work_order` or `action`: what an event of this type is about; None when its name does not say."""
    kind = event_type.partition(".")[0]
    return kind if kind in SUBJECT_FIELDS else None


def at_path(payload: Any, path: str) -> Any:
    """The value at a dotted path (`event.id`) in parsed JSON, or None when any step is missing."""
    if "." not in path:  # nearly all of them
        return payload.get(path) if isinstance(payload, dict) else None
    for step in path.split("."):
        if not isinstance(payload, dict):
            return None
        payload = payload.get(step)
    return payload


def first_text(payload: Any, paths: Iterable[str]) -> str | None:
    """The first non-empty string or number found at one of the paths, as text.

    A missing or empty field is None, never an empty string: unrelated events would share it.
    """
    for path in paths:
        value = at_path(payload, path)
        if value is None:
            continue
        if isinstance(value, str) and (text := value.strip()):
            return text if text.isascii() else storable(text)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def subject_fields(payload: Any, kind: str) -> dict[str, Any] | None:
    """The part of a payload that describes its Work Order or Action, wherever it sits; None when absent."""
    for path in SUBJECT_FIELDS.get(kind, ()):
        value = at_path(payload, path)
        if isinstance(value, dict):
            return value
    return None


def subject_of(payload: Any, event_type: str) -> tuple[str, str] | tuple[None, None]:
    """Kind and id of the Work Order or Action that an event is about."""
    kind = subject_kind(event_type)
    subject_id = first_text(subject_fields(payload, kind), ("id",)) if kind else None
    return (kind, identifier(subject_id)) if kind and subject_id else (None, None)


def identifier(text: str) -> str:
    """An id as it is kept and shown: one that is too long keeps its beginning, and its hash tells it from others."""
    if len(text) <= _LONGEST_ID:
        return text
    return f"{text[: _LONGEST_ID - 17]}…{hashlib.sha256(text.encode()).hexdigest()[:16]}"


_LONGEST_ID = 180  # characters


def storable(text: str) -> str:
    """The text with a UTF-8 form, which Redis and databases need: half of a surrogate pair, which has none, escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
