"""What a handler is given: the event, parsed tolerantly from a payload whose schema nobody has documented.

Every field of the typed views is optional and unknown ones are kept. A value of an unexpected type is None in the
view and untouched in `payload`: a handler decides what it needs, the parser never turns an event away.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import (
    AliasGenerator,
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from receiver import events
from receiver.delivery import parse_json
from receiver.settings import Settings


class Unreadable(Exception):
    """The body is not an event: its message says why, in one line without any of its content."""


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
    def _name(cls, fields: Any) -> Any:
        """A field may be called anything; half a character has no UTF-8 form, which pydantic insists on."""
        if not isinstance(fields, dict):
            return fields
        return {name.encode("utf-8", "backslashreplace").decode(): value for name, value in fields.items()}

    @field_validator("*", mode="wrap")
    @classmethod
    def _tolerate(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            return None


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
    """A Work Order in Glartek's words; times are aware datetimes when the sender gave an offset."""

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
    planned_start: datetime | None = None
    due_date: datetime | None = None
    allow_submission_after_due_date: bool | None = None
    created_by: Ref | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    tasks: list[Task] | None = None


class Action(View):
    """An Action in Glartek's words; times are aware datetimes when the sender gave an offset."""

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
    created_at: datetime | None = None
    due_date: datetime | None = None
    finish_date: datetime | None = None
    last_update: datetime | None = None
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
    `payload` is the whole JSON, untouched; `raw` the exact text received.
    """

    id: str | None
    type: str
    occurred_at: datetime | None
    subject: Subject | None
    payload: dict[str, Any]
    raw: str

    @property
    def known(self) -> bool:
        """Whether the type is one of Glartek's eleven."""
        return self.type in events.BY_NAME

    @property
    def work_order(self) -> WorkOrder | None:
        """The Work Order, as a typed, tolerant view; None when the event is not about one."""
        fields = self._subject_fields("work_order")
        return WorkOrder.model_validate(fields) if fields is not None else None

    @property
    def action(self) -> Action | None:
        """The Action, as a typed, tolerant view; None when the event is not about one."""
        fields = self._subject_fields("action")
        return Action.model_validate(fields) if fields is not None else None

    def _subject_fields(self, kind: str) -> dict[str, Any] | None:
        if self.subject is not None and self.subject.kind != kind:
            return None
        return events.subject_fields(self.payload, kind)


def parse(body: bytes, settings: Settings) -> Event:
    """The event in a body.

    Raises `Unreadable` when the body is not UTF-8 JSON text of an object; nothing else makes an event unreadable.
    """
    try:
        raw = body.decode("utf-8-sig")
        payload = parse_json(raw)
    except UnicodeDecodeError as error:
        raise Unreadable(f"the body is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Unreadable(f"the body is not JSON ({where})" if body.strip() else "the body is empty") from None
    except ValueError:  # Python's limit on the digits of one number
        raise Unreadable("the body is JSON with a number too long to read") from None
    except RecursionError:
        raise Unreadable("the body is JSON nested too deeply") from None
    if not isinstance(payload, dict):
        raise Unreadable(f"the body is JSON but not an object: {_json_kind(payload)}")
    event_type = events.canonical(events.first_text(payload, settings.event_type_paths) or "")
    return Event(
        id=events.first_text(payload, settings.event_id_paths),
        type=event_type,
        occurred_at=_time(events.first_text(payload, settings.occurred_at_paths)),
        subject=_subject(payload, event_type),
        payload=payload,
        raw=raw,
    )


def _subject(payload: dict[str, Any], event_type: str) -> Subject | None:
    kind = events.subject_kind(event_type)
    subject_id = events.first_text(events.subject_fields(payload, kind), ("id",)) if kind else None
    return Subject(kind, subject_id) if kind and subject_id else None


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        if text.isdecimal():  # Unix time, in seconds or milliseconds
            number = int(text)
            return datetime.fromtimestamp(number / 1000 if number > 10**11 else number, tz=UTC)
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return time if time.tzinfo else None  # a time without an offset could be any of 26 hours


def _json_kind(value: Any) -> str:
    if isinstance(value, list):
        return "an array"
    return {str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")
