"""What a handler is given: the event, parsed tolerantly from a payload whose schema nobody has documented.

Every field of the typed views is optional and unknown ones are kept. A value of an unexpected type is None in the
view and untouched in `payload`: a handler decides what it needs, the parser never turns an event away. Texts and lists
of a view have a length that any handler can afford to walk through; `payload` has all of them, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from receiver import content, events
from receiver.events import times
from receiver.settings import PayloadSettings
from worker.views import Action, WorkOrder


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event is about: `kind` is `work_order` or `action`, `id` is the sender's own id of it."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as handlers get it.

    `type` is our name for the eleven and the sender's own words otherwise (`known` tells which; an event that names
    no type has `type == ""`). `occurred_at` is aware, in the sender's offset, None when absent or unreadable.
    `payload` is the whole JSON, untouched; `raw` the exact text received, unpacked and without a byte order mark. `id`
    and `subject.id` are `events.identifier`s: one of more than 180 characters is shortened, and still its own. A time
    without an offset is one in `zone` (PAYLOAD_TIMEZONE).
    """

    id: str | None
    type: str
    occurred_at: datetime | None
    subject: Subject | None
    payload: dict[str, Any]
    raw: str
    zone: tzinfo | None = None

    @property
    def known(self) -> bool:
        """Whether the type is one of Glartek's eleven."""
        return self.type in events.BY_NAME

    @property
    def work_order(self) -> WorkOrder | None:
        """The Work Order, as a typed, tolerant view; None when the event is not about one."""
        fields = self._subject_fields("work_order")
        return WorkOrder.model_validate(fields, context=self.zone) if fields is not None else None

    @property
    def action(self) -> Action | None:
        """The Action, as a typed, tolerant view; None when the event is not about one."""
        fields = self._subject_fields("action")
        return Action.model_validate(fields, context=self.zone) if fields is not None else None

    def time(self, value: Any) -> datetime | None:
        """The time in any value of the payload, read as those of the views are."""
        return times.read(value, self.zone)

    def _subject_fields(self, kind: str) -> dict[str, Any] | None:
        if events.subject_kind(self.type) not in {kind, None}:
            return None
        return events.subject_fields(self.payload, kind)


def parse(body: bytes, settings: PayloadSettings, headers: Mapping[str, str] | None = None) -> Event:
    """The event in a body, `headers` by lower-case name. Raises `receiver.content.Unreadable`, and nothing else."""
    payload, text = content.read(headers or {}, body, settings.max_body_bytes)
    event_id = events.first_text(payload, settings.event_id_paths)
    event_type = events.type_of(payload, settings.event_type_paths)
    kind, subject_id = events.subject_of(payload, event_type)
    return Event(
        id=events.identifier(event_id) if event_id else None,
        type=event_type,
        occurred_at=_occurred_at(payload, settings),
        subject=Subject(kind, subject_id) if kind and subject_id else None,
        payload=payload,
        raw=text.decode(),
        zone=settings.payload_timezone,
    )


def _occurred_at(payload: dict[str, Any], settings: PayloadSettings) -> datetime | None:
    """The first time that can be read at one of the paths."""
    for path in settings.occurred_at_paths:
        if time := times.read(events.at_path(payload, path), settings.payload_timezone):
            return time
    return None
