"""Work Orders and Actions as handlers see them: typed and tolerant, because nobody has documented the schema.

Where each field of a Work Order and an Action is in a payload is said by the payload map; what is inside of a field (a
person, a task) has the names below, in snake_case or camelCase.

Every field is optional and unknown ones are kept. A value of an unexpected type is None in the view and untouched in
`Event.payload`. Long texts and lists are cut, so that no handler needs long for them.
"""

from datetime import datetime
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

from receiver import events
from receiver.events import times

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
            return cls._spelled_out(fields)
        return {
            name if name.isascii() else events.storable(name): _cut(value) if type(value) in _LONG else value
            for name, value in fields.items()
        }

    @classmethod
    def _spelled_out(cls, value: Any) -> Any:
        """What stands for an object, as one."""
        return value

    @field_validator("*", mode="wrap")
    @classmethod
    def _tolerate(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            return None


_LONG = {str, list}
_MAPPED = ConfigDict(alias_generator=None)  # the payload map has named the fields


def _cut(value: Any) -> Any:
    """A text or list as a view holds it: cut if it is long, and valid as UTF-8."""
    if isinstance(value, list):
        return [_cut(item) if isinstance(item, str) else item for item in value[:LONGEST_LIST]]
    text = value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - 1] + "…"
    return text if text.isascii() else events.storable(text)


class Ref(View):
    """A person, a team, a site, an element, a Work Order or a task that is named but not spelled out.

    Some senders give a name or an e-mail address where others give an object.
    """

    id: str | None = None
    name: str | None = None
    code: str | None = None
    title: str | None = None
    type: str | None = None

    @classmethod
    def _spelled_out(cls, value: Any) -> Any:
        return {"name": _cut(value)} if isinstance(value, str) and value.strip() else value


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

    model_config = _MAPPED

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

    model_config = _MAPPED

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
