"""What a handler is given: the event, parsed tolerantly from a payload whose schema nobody has documented.

Every field of the typed views is optional and unknown ones are kept. A value of an unexpected type is None in the
view and untouched in `payload`: a handler decides what it needs, the parser never turns an event away. Texts and lists
of a view have a length that any handler can afford to walk through; `payload` has all of them, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Annotated, Any

from pydantic import (
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from receiver import content, events
from receiver.events import times
from receiver.settings import Settings

LONGEST_TEXT = 20_000
"""Characters of a text in a view; what is longer is cut, and ends in `…`."""
LONGEST_LIST = 5_000
"""Items of a list in a view: more tasks than a Work Order of 1 MB has."""


def _read_time(value: Any, info: ValidationInfo) -> datetime | None:
    return times.read(value, info.context)


Time = Annotated[datetime | None, BeforeValidator(_read_time)]
"""A time in a view, aware; None when it is absent or cannot be read."""


class View(BaseModel):
    """A tolerant view of a part of the payload: snake_case or camelCase, anything unexpected is None."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        alias_generator=AliasGenerator(validation_alias=to_camel),
        populate_by_name=True,
        coerce_numbers_to_str=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _affordable(cls, fields: Any) -> Any:
        """Cut what is long, and give names the UTF-8 form that pydantic wants."""
        if not isinstance(fields, dict):
            return fields
        return {
            name if name.isascii() else events.storable(name): _cut(value) if type(value) in _LONG else value
            for name, value in fields.items()
        }

    @field_validator("*", mode="wrap")
    @classmethod
    def _tolerate(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            return None


_LONG = {str, list}


def _cut(value: Any) -> Any:
    """A text or list as a view holds it: no longer than any handler can afford, and with a UTF-8 form."""
    if isinstance(value, list):
        return [_cut(item) if isinstance(item, str) else item for item in value[:LONGEST_LIST]]
    text = value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - 1] + "…"
    return text if text.isascii() else events.storable(text)


class Ref(View):
    """A person, a team, a site, an element, a Work Order or a task that is named but not spelled out."""

    id: str | None = None
    name: str | None = None
    code: str | None = None
    title: str | None = None
    type: str | None = None


class Response(View):
    """What someone answered to a task."""

    value: Any = None
    unit: str | None = None
    comment: str | None = None
    photo: str | None = None


class Task(View):
    id: str | None = None
    title: str | None = None
    type: str | None = None
    status: str | None = None
    response: Response | None = None


class Attachment(View):
    name: str | None = None
    url: str | None = None
    content_type: str | None = None


class WorkOrder(View):
    """A Work Order in Glartek's words."""

    id: str | None = None
    code: str | None = None
    name: str | None = None
    template: str | None = None
    folder: str | None = None
    status: str | None = None
    site: Ref | None = None
    element: Ref | None = None
    assignees: list[Ref] | None = None
    labels: list[str] | None = None
    planned_start: Time = None
    due_date: Time = None
    allow_submission_after_due_date: bool | None = None
    created_by: Ref | None = None
    created_at: Time = None
    started_at: Time = None
    finished_at: Time = None
    tasks: list[Task] | None = None


class Action(View):
    """An Action in Glartek's words."""

    id: str | None = None
    code: str | None = None
    title: str | None = None
    description: str | None = None
    status: str | None = None
    priority: str | None = None
    site: Ref | None = None
    element: Ref | None = None
    assigned_to: Ref | None = None
    created_by: Ref | None = None
    created_at: Time = None
    due_date: Time = None
    finish_date: Time = None
    last_update: Time = None
    labels: list[str] | None = None
    attachments: list[Attachment] | None = None
    work_order: Ref | None = None
    task: Ref | None = None


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
        if self.subject is not None and self.subject.kind != kind:
            return None
        return events.subject_fields(self.payload, kind)


def parse(body: bytes, settings: Settings, headers: Mapping[str, str] | None = None) -> Event:
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


def _occurred_at(payload: dict[str, Any], settings: Settings) -> datetime | None:
    """The first time that can be read at one of the paths."""
    for path in settings.occurred_at_paths:
        if time := times.read(events.at_path(payload, path), settings.payload_timezone):
            return time
    return None
