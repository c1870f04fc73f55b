"""Event and target in, Work Order and body out: pure."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.handlers.external_system import request
from examples.handlers.external_system.target import Json, Target, Unmappable
from examples.handlers.external_system.targets import generic_rest, sap_maintenance_order, servicenow
from worker import Event, WorkOrder


async def nothing(_: WorkOrder, __: Json, ___: object) -> None: ...


def target(body: Json, **options: Any) -> Target:
    """A target whose body is always the same."""
    return Target(name="erp", body=lambda *_: body, update=nothing, **options)


@pytest.fixture
def event(sample: Callable[..., Event]) -> Event:
    return sample("work_order.completed")


def test_what_is_none_is_left_out(event: Event) -> None:
    """Nothing is sent as null, however deep; empty lists and false are values."""
    body: Json = {"a": None, "b": 0, "c": [], "d": False, "e": {"f": None, "g": [{"h": None, "i": 1}]}}
    assert request.build(event, target(body))[2] == {"b": 0, "c": [], "d": False, "e": {"g": [{"i": 1}]}}


def test_a_time_is_written_as_iso_8601(event: Event) -> None:
    """A view's time can be a field as it is."""
    at = datetime(2026, 11, 3, 9, tzinfo=UTC)
    assert request.build(event, target({"at": at, "all": [at]}))[2] == {
        "at": "2026-11-03T09:00:00+00:00",
        "all": ["2026-11-03T09:00:00+00:00"],
    }


@pytest.mark.parametrize("missing", [{}, {"x": None}])
def test_a_required_field_without_a_value_is_refused(event: Event, missing: Json) -> None:
    """The refusal names the target's fields."""
    with pytest.raises(Unmappable, match=r"^the event has nothing for the target's field x, y, which is required$"):
        request.build(event, target(missing, required=["x", "y"]))


@pytest.mark.parametrize(
    ("body", "longest"),
    [
        ({"x": "123456"}, {"x": 5}),
        ({"x": ["1", "123456"]}, {"x": 5}),
        ({"x": "\U0001f600\U0001f600\U0001f600"}, {"x": 5}),
        ({"a": {"b": [{"c": "123456"}]}}, {"a.b.c": 5}),
    ],
)
def test_a_text_that_is_too_long_is_refused_by_its_field(event: Event, body: Json, longest: dict[str, int]) -> None:
    """In UTF-16 units; a nested field is named with its path."""
    [name] = longest
    with pytest.raises(Unmappable, match=rf"^the target's field {name} is longer than 5 characters$"):
        request.build(event, target(body, longest=longest))
    assert request.build(event, target(body, longest={name: 6}))[2] == body


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a\ud83d", "would hold half a character"),
        ({"\udc00": 1}, "would hold half a character"),
        ("\uffff", "would hold half a character"),
        (float("nan"), "would be a number that JSON does not know"),
        (float("-inf"), "would be a number that JSON does not know"),
    ],
)
def test_what_json_does_not_know_is_refused_by_its_field(event: Event, value: Any, reason: str) -> None:
    """The dead letter names the field and shows nothing of it."""
    with pytest.raises(Unmappable, match=f"^the target's field x.* {reason}"):
        request.build(event, target({"x": value}))


def test_half_a_character_is_seen_behind_a_view(event_of: Callable[..., Event]) -> None:
    """A view drops or escapes what has no UTF-8 form; a field that is made of it is refused all the same."""
    order = {"id": "wo", "status": "Done", "site": {"name": "Set\ud83d"}}
    event = event_of({"id": "e", "type": "work_order.completed", "work_order": order})
    with pytest.raises(Unmappable, match=r"^the target's field site would hold half a character"):
        request.build(event, generic_rest.TARGET)
    assert request.build(event, sap_like())[2] == {"status": "Done"}


def sap_like() -> Target:
    return Target(name="erp", body=lambda _, order: {"status": order.status}, update=nothing)


def test_an_event_about_something_else_is_refused(sample: Callable[..., Event], event: Event) -> None:
    """An Action has no Work Order's data to send, and a Work Order without an id is none."""
    for wrong in (sample("action.created"), sample("work_order.completed", id=None), replace(event, subject=None)):
        with pytest.raises(Unmappable, match=r"^the event names no Work Order$"):
            request.build(wrong, generic_rest.TARGET)


def test_a_payload_that_is_too_deep_is_refused(event: Event) -> None:
    """It was read; to walk through it takes more stack than there is."""
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Unmappable, match=r"^the event's data is nested too deeply$"):
        request.build(replace(event, payload={**event.payload, "deep": deep}), generic_rest.TARGET)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(fields=st.dictionaries(st.sampled_from(["id", "code", "status", "tasks", "site", "finished_at"]), _JSON))
@pytest.mark.parametrize("module", [generic_rest, sap_maintenance_order, servicenow])
def test_any_event_is_a_request_or_a_clear_refusal(
    event_of: Callable[..., Event], module: Any, fields: dict[str, Any]
) -> None:
    """Whatever a payload holds, the body has these two ends, and every body can be sent."""
    event = event_of({"id": "e", "type": "work_order.completed", "work_order": fields})
    try:
        _, _, body = request.build(event, module.TARGET)
    except Unmappable:
        return
    httpx2.Request("PATCH", "http://erp", json=body)
