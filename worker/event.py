"""What a handler is given: the event, parsed tolerantly from a payload whose schema nobody has documented.

Every field of the typed views is optional and unknown ones are kept. A value of an unexpected type is None in the
view and untouched in `payload`: a handler decides what it needs, the parser refuses no event. Long texts and lists
are cut in a view, so that no handler needs long for them; `payload` has all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from receiver import content, events
from receiver.batches import check_parted
from receiver.delivery import Delivery
from receiver.events import times
from receiver.events.payload_file import ours
from receiver.events.payload_map import PayloadMap
from receiver.payload_settings import PayloadSettings
from worker.views import Action, Ref, WorkOrder


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
    and `subject.id` are `events.identifier`s: one of more than 180 characters is shortened, and still unique. `where`
    says where the payload's fields are (PAYLOAD_MAP).
    """

    id: str | None
    type: str
    occurred_at: datetime | None
    subject: Subject | None
    payload: dict[str, Any]
    raw: str
    where: PayloadMap = field(default_factory=ours, repr=False, compare=False)

    @property
    def known(self) -> bool:
        """Whether the type is one of Glartek's eleven."""
        return self.type in events.BY_NAME

    @property
    def work_order(self) -> WorkOrder | None:
        """The Work Order, as a typed, tolerant view; None when the event is not about one."""
        fields = self._fields("work_order")
        return WorkOrder.model_validate(fields, context=self.where.zone) if fields is not None else None

    @property
    def action(self) -> Action | None:
        """The Action, as a typed, tolerant view; None when the event is not about one."""
        fields = self._fields("action")
        return Action.model_validate(fields, context=self.where.zone) if fields is not None else None

    @property
    def actor(self) -> Ref | None:
        """Who did it; None when the event does not say."""
        found = next((value for _, value in self.where.actor.found(self.payload)), None)
        return Ref.model_validate(found) if isinstance(found, dict | str) and found else None

    def time(self, value: Any) -> datetime | None:
        """The time in any value of the payload, read as those of the views are."""
        return times.read(value, self.where.zone)

    def _fields(self, kind: str) -> dict[str, Any] | None:
        if events.subject_kind(self.type) not in {kind, None}:
            return None
        return self.where.view(self.payload, kind)


def parse(body: bytes, settings: PayloadSettings, headers: Mapping[str, str] | None = None) -> Event:
    """The event in a body, `headers` by lower-case name. Raises `receiver.content.Unreadable`, and nothing else."""
    payload, text = content.read(headers or {}, body, settings.max_body_bytes)
    where = settings.where
    event_id, event_type = where.id_of(payload), where.type_of(payload)
    subject = where.subject(payload, event_type)
    return Event(
        id=events.identifier(event_id) if event_id else None,
        type=event_type,
        occurred_at=where.time_of(payload),
        subject=Subject(*subject) if subject else None,
        payload=payload,
        raw=text.decode(),
        where=where,
    )


def read(delivery: Delivery, settings: PayloadSettings) -> Event:
    """The event in a delivery. Raises `Unreadable`, also for a batch that the receiver did not part."""
    check_parted(delivery, settings.where.batch, settings.max_body_bytes)
    return parse(delivery.body, settings, delivery.headers)
