"""Parsing is tolerant: whatever an object says, it is an event; what it does not say is None."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from receiver import events
from receiver.content import Unreadable
from receiver.environment import load
from receiver.events import CATALOG, EventType
from receiver.payload_settings import PayloadSettings
from worker.event import Event, Subject, parse
from worker.views import LONGEST_LIST, LONGEST_TEXT, Ref

SETTINGS = load(PayloadSettings)


def event(payload: Any) -> Event:
    return parse(json.dumps(payload).encode(), SETTINGS)


@pytest.mark.parametrize("event_type", CATALOG, ids=lambda event_type: event_type.name)
def test_a_sample_is_read_completely(event_type: EventType) -> None:
    """Each of the eleven has its id, type, time, subject and a typed view."""
    sample = event_type.sample()
    read = event(sample)
    assert read.type == event_type.name
    assert read.known
    assert read.id == sample["id"]
    assert read.payload == sample
    assert read.occurred_at is not None
    assert read.subject is not None
    view = read.work_order or read.action
    assert view is not None
    assert view.id == read.subject.id
    assert (read.work_order is None) == (read.subject.kind == "action")


def test_the_view_of_a_work_order_is_typed() -> None:
    """Names, times and lists are what a handler would expect, nothing that was sent is missing."""
    order = event(events.BY_NAME["work_order.completed"].sample()).work_order
    assert order is not None
    assert order.site is not None
    assert order.site.name == "Fábrica de Setúbal"
    assert order.due_date == datetime(2026, 11, 3, 17, tzinfo=UTC)
    assert [one.type for one in order.assignees or []] == ["user", "team"]
    assert [task.response.value for task in order.tasks or [] if task.response] == ["Abaixo do mínimo", 7.2, None]


def test_an_object_that_says_nothing_is_an_event() -> None:
    """With every field missing there is still an event, for the handlers of every event."""
    read = event({})
    assert (read.id, read.type, read.known, read.occurred_at, read.subject) == (None, "", False, None, None)
    assert read.work_order is None
    assert read.action is None
    assert read.raw == "{}"


def test_an_unknown_type_keeps_its_own_words() -> None:
    """A type that Glartek adds tomorrow reaches the handlers as it was sent."""
    read = event({"type": "Work Order Archived"})
    assert (read.type, read.known) == ("Work Order Archived", False)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("2026-11-03T09:12:55+00:00", datetime(2026, 11, 3, 9, 12, 55, tzinfo=UTC)),
        ("2026-11-03T09:12:55Z", datetime(2026, 11, 3, 9, 12, 55, tzinfo=UTC)),
        ("2026-11-03T10:12:55+01:00", datetime(2026, 11, 3, 10, 12, 55, tzinfo=timezone(timedelta(hours=1)))),
        (1762161175, datetime(2025, 11, 3, 9, 12, 55, tzinfo=UTC)),
        ("1762161175", datetime(2025, 11, 3, 9, 12, 55, tzinfo=UTC)),
        (1762161175000, datetime(2025, 11, 3, 9, 12, 55, tzinfo=UTC)),
        (1762161175.5, datetime(2025, 11, 3, 9, 12, 55, 500000, tzinfo=UTC)),
        ("2026-11-03 09:12:55z", datetime(2026, 11, 3, 9, 12, 55, tzinfo=UTC)),
        ("20261103T091255Z", datetime(2026, 11, 3, 9, 12, 55, tzinfo=UTC)),
        ("/Date(1762161175000)/", datetime(2025, 11, 3, 9, 12, 55, tzinfo=UTC)),
        ("20261103", None),
        (20261103091255, None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("2026-11-03T09:12:55", None),
        ("3 November", None),
        ("", None),
        (True, None),
        (10**30, None),
        ("9" * 5000, None),
        (-5, None),
        ({"date": "x"}, None),
    ],
)
def test_a_time_is_aware_or_none(sent: object, read: datetime | None) -> None:
    """In the event and in its view; one without an offset could be any of 26 hours, and none is a reason to fail."""
    assert event({"occurred_at": sent}).occurred_at == read
    order = event({"type": "work_order.updated", "work_order": {"due_date": sent}}).work_order
    assert order is not None
    assert order.due_date == read


def test_a_time_without_an_offset_is_one_in_the_payloads_zone() -> None:
    """PAYLOAD_TIMEZONE is that of the event's time, of its views, and of what a handler reads for itself."""
    lisbon = load(PayloadSettings, payload_timezone=ZoneInfo("Europe/Lisbon"))
    order = {"id": "w", "due_date": "2026-07-03T17:00:00", "tasks": []}
    sent = {"occurred_at": "20260703", "type": "work_order.updated", "work_order": order}
    read = parse(json.dumps(sent).encode(), lisbon)
    assert read.occurred_at == datetime(2026, 7, 2, 23, tzinfo=UTC)
    assert read.work_order is not None
    assert read.work_order.due_date == datetime(2026, 7, 3, 16, tzinfo=UTC)
    assert read.time("2026-07-03 17:00") == datetime(2026, 7, 3, 16, tzinfo=UTC)


def test_the_first_time_that_can_be_read_is_the_events() -> None:
    """A path with something else does not hide the next one."""
    read = event({"occurred_at": "soon", "timestamp": 1762161175})
    assert read.occurred_at == datetime(2025, 11, 3, 9, 12, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    ("payload", "subject"),
    [
        ({"type": "action.created", "action": {"id": 7}}, Subject("action", "7")),
        ({"type": "Action Created", "data": {"id": "a"}}, Subject("action", "a")),
        ({"type": "work_order.created", "workOrder": {"id": "w"}}, Subject("work_order", "w")),
        ({"type": "work_order.created", "data": {"work_order": {"id": "w"}}}, Subject("work_order", "w")),
        ({"type": "work_order.created", "work_order": {"id": ""}}, None),
        ({"type": "work_order.created", "work_order": "wo_1"}, None),
        ({"type": "work_order.created"}, None),
        ({"type": "something", "work_order": {"id": "w"}}, None),
    ],
)
def test_the_subject_is_found_where_it_is(payload: dict[str, Any], subject: Subject | None) -> None:
    """What an event is about, wherever the envelope puts it."""
    assert event(payload).subject == subject


@pytest.mark.parametrize("fields", [{"title": "x"}, {"title": "x", "id": "w"}, {"action": {"id": "a"}}])
def test_the_type_says_what_an_event_is_about(fields: dict[str, Any]) -> None:
    """With an id or without one, an event of a Work Order has no Action, nor one of an Action a Work Order."""
    about_an_order = event({"type": "work_order.completed", "data": fields, "action": {"id": "a"}})
    about_an_action = event({"type": "action.created", "data": fields, "work_order": {"id": "w"}})
    assert about_an_order.work_order is not None
    assert about_an_order.action is None
    assert about_an_action.action is not None
    assert about_an_action.work_order is None


@pytest.mark.parametrize("field", ["work_order", "action"])
def test_a_type_that_does_not_say_has_the_view_of_what_is_there(field: str) -> None:
    """A type not known yet may be about either: a handler sees what the payload holds."""
    read = event({"type": "something", field: {"id": "x", "status": "Open"}})
    view = read.work_order or read.action
    assert view is not None
    assert view.status == "Open"


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"status": "Done"}, "status", "Done"),
        ({"status": 5}, "status", "5"),
        ({"status": True}, "status", None),
        ({"status": {"name": "Done"}}, "status", None),
        ({"status": None}, "status", None),
        ({"dueDate": "2026-11-03T17:00:00Z"}, "due_date", datetime(2026, 11, 3, 17, tzinfo=UTC)),
        ({"due_date": "soon"}, "due_date", None),
        ({"assignees": "Ana"}, "assignees", None),
        ({"assignees": []}, "assignees", []),
        ({"assignees": ["ana@example.com"]}, "assignees", [Ref(name="ana@example.com")]),
        ({"site": "Setúbal"}, "site", Ref(name="Setúbal")),
        ({"site": " "}, "site", None),
        ({"site": []}, "site", None),
        ({"labels": ["a", 1]}, "labels", ["a", "1"]),
        ({"allowSubmissionAfterDueDate": "maybe"}, "allow_submission_after_due_date", None),
    ],
)
def test_a_view_takes_what_it_can(fields: dict[str, Any], name: str, value: object) -> None:
    """Either spelling; a value of an unexpected type is None in the view and untouched in the payload."""
    read = event({"type": "work_order.updated", "work_order": fields})
    assert read.work_order is not None
    assert getattr(read.work_order, name) == value
    assert read.payload["work_order"] == fields


def test_unknown_fields_are_kept_in_the_view() -> None:
    """What Glartek adds tomorrow can be used before the kit knows it."""
    order = event({"type": "work_order.updated", "work_order": {"shift": "night"}}).work_order
    assert order is not None
    assert (order.model_extra or {})["shift"] == "night"


@pytest.mark.parametrize("key", ["\ud800", "model_config", "__class__", "", "id "])
def test_a_strange_field_name_does_not_break_the_view(key: str) -> None:
    """Whatever a field is called, the others can be read."""
    order = event({"type": "work_order.updated", "work_order": {key: 1, "code": "C"}}).work_order
    assert order is not None
    assert order.code == "C"


def test_texts_and_lists_of_a_view_have_a_length() -> None:
    """A handler can walk through whatever a view holds; `payload` and `raw` have all of it."""
    text, labels = "7" * 500_000, ["x" * 30_000] * 3
    fields = {
        "title": text,
        "extra": text,
        "labels": labels,
        "assigned_to": {"name": text},
        "attachments": [{}] * 40_000,
    }
    read = event({"type": "action.created", "action": fields})
    assert read.action is not None
    assert read.action.title == "7" * (LONGEST_TEXT - 1) + "…"
    assert [len(label) for label in read.action.labels or []] == [LONGEST_TEXT] * 3
    assert len((read.action.model_extra or {})["extra"]) == LONGEST_TEXT
    assert read.action.assigned_to is not None
    assert len(read.action.assigned_to.name or "") == LONGEST_TEXT
    assert len(read.action.attachments or []) == LONGEST_LIST
    assert read.payload["action"] == fields
    assert text in read.raw


def test_half_a_character_in_a_view_can_be_written() -> None:
    """A sender that cuts a text in the middle of an emoji does not lose the text, nor what it is written to."""
    fields = {"title": "leak \ud83d", "labels": ["\ud83d"], "site": {"na\udfffme": 1, "name": "\udc00"}}
    action = event({"type": "action.created", "action": fields}).action
    assert action is not None
    assert (action.title, action.labels) == ("leak \\ud83d", ["\\ud83d"])
    assert action.site is not None
    assert action.site.name == "\\udc00"
    assert action.model_dump_json()


def test_an_events_own_fields_are_short() -> None:
    """A megabyte of type, id or subject is no megabyte in a log, a key or a URL; a time of that length is none."""
    long = "9" * 300_000
    read = event({"id": long, "type": "action.created", "action": {"id": long}, "occurred_at": long})
    assert read.id == events.identifier(long)
    assert read.subject == Subject("action", events.identifier(long))
    assert read.occurred_at is None
    assert len(event({"type": long}).type) == 100


texts = st.text(st.characters(exclude_categories=()))
names = st.sampled_from(
    ["id", "type", "event", "occurred_at", "timestamp", "work_order", "workOrder", "action", "data", "tasks", "site",
     "assignees", "due_date", "dueDate", "status", "labels", "response", "createdAt"]
)  # fmt: skip
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from([t.name for t in CATALOG]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | texts, inner, max_size=5),
    max_leaves=12,
)


@given(st.binary() | st.text().map(str.encode) | any_json.map(lambda value: json.dumps(value).encode()))
@hypothesis_settings(max_examples=300)
def test_any_body_is_an_event_or_unreadable(body: bytes) -> None:
    """No bytes raise anything else, and every view of every event can be asked for."""
    try:
        read = parse(body, SETTINGS)
    except Unreadable:
        return
    assert isinstance(read.payload, dict)
    read.id is None or read.id.encode()
    for view in (read.work_order, read.action):
        assert view is None or view.id is None or isinstance(view.id, str)


@given(st.dictionaries(names | texts, any_json, max_size=5), st.sampled_from(["work_order", "action"]))
@hypothesis_settings(max_examples=100)
def test_any_subject_has_a_view(fields: dict[str, Any], kind: str) -> None:
    """Whatever is in a Work Order or Action, a handler that asks for the view gets one."""
    read = event({"type": f"{kind}.created", kind: fields})
    assert (read.work_order or read.action) is not None
