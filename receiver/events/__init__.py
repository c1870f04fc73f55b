"""Glartek's catalog: the eleven event types, their aliases, one sample each.

The titles and triggers are Glartek's. The names on the wire and the samples are *ours*: Glartek does not document its
payloads ("please contact Glartek for a detailed description and example payloads"), so where a payload's fields are is
said by a file, `payload.toml` here or a customer's own.

An event's type stays a string: webhooks are "under active development", more types will come, and an unknown one
is accepted, kept and given to the handlers that asked for every event.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from receiver.events.paths import at_path, first_text, storable

__all__ = [
    "BY_NAME",
    "CATALOG",
    "KINDS",
    "LONGEST_NAME",
    "OTHER",
    "SAMPLES",
    "EventType",
    "at_path",
    "canonical",
    "counted_as",
    "first_text",
    "identifier",
    "normalised",
    "storable",
    "subject_kind",
]
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

KINDS = ("work_order", "action")
"""What an event is about."""
LONGEST_NAME = 100
"""Characters of a type, punctuation and all; longer ones are nobody's name, and must not fill a cache."""
OTHER = "other"
"""What types outside of the catalog are counted as: a sender may have any number of them. accept.lua says it, too."""


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
    return _canonical(words) if len(words) <= LONGEST_NAME else words


@lru_cache(maxsize=1024)  # bounded: the words come from outside
def _canonical(words: str) -> str:
    return _NAMES.get(normalised(words), words)


def counted_as(event_type: str) -> str:
    """The name of a type in counts and metrics: its own if it is in the catalog, else `OTHER`."""
    return event_type if event_type in BY_NAME else OTHER


def subject_kind(event_type: str) -> str | None:
    """`work_order` or `action`: what an event of this type is about; None when its name does not say."""
    kind = event_type.partition(".")[0]
    return kind if kind in KINDS else None


def identifier(text: str) -> str:
    """An id as it is kept and shown: one that is too long keeps its beginning, and its hash tells it from others."""
    if len(text) <= _LONGEST_ID:
        return text
    return f"{text[: _LONGEST_ID - 17]}…{hashlib.sha256(text.encode()).hexdigest()[:16]}"


_LONGEST_ID = 180  # characters
