"""Event and target in, request out: pure."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.handlers.external_system import request, target
from worker import Event

HEAD = 'name = "erp"\nmethod = "PATCH"\npath = "/orders/{work_order.id}"\n[fields]\n'


@pytest.fixture
def event(event_of: Callable[..., Event]) -> Event:
    return event_of(
        {
            "id": "e1",
            "type": "work_order.completed",
            "occurred_at": "2026-11-03T09:12:55+01:00",
            "actor": {"name": "João"},
            "workOrder": {
                "id": "wo/1?",
                "status": "Done",
                "n": 3,
                "at": "2026-11-03T00:30:00+01:00",
                "naive": "2026-11-03T00:30:00",
                "tasks": [{"t": "a", "ok": True}, {"t": "b"}, 7],
            },
        }
    )


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('x = "work_order.status"', "Done"),
        ('x = "work_order.tasks.1.t"', "b"),
        ('x = "event.id"', "e1"),
        ('x = "workOrder.n"', 3),
        ('x = { from = "work_order.status", map = { Done = "7" } }', "7"),
        ('x = { from = "work_order.status", map = { Open = "1" } }', "Done"),
        ('x = { from = "work_order.none", default = "event.occurred_at" }', "2026-11-03T09:12:55+01:00"),
        ('x = { text = "{work_order.status} by {actor.name}{work_order.none}" }', "Done by João"),
        ('x = { text = "{actor.name}", max_length = 2 }', "Jo"),
        ('x = { text = "{work_order.tasks.0.ok}: {work_order.n}{work_order.tasks}" }', "true: 3"),
        ('x = { text = "{work_order.none}", default = "event.id" }', "e1"),
        ("x = { value = true }", True),
        ('x = { from = "work_order.at", format = "date" }', "2026-11-03"),
        ('x = { from = "work_order.at", format = "utc" }', "2026-11-02 23:30:00"),
        ('x = { from = "work_order.at", format = "unix" }', 1793662200),
        ('x = { from = "work_order.at", format = "odata" }', "/Date(1793662200000+0000)/"),
    ],
)
def test_where_a_field_has_its_value_from(event: Event, field: str, expected: Any) -> None:
    """Path, text, constant, map, default, format and length."""
    assert request.build(event, target.parse(HEAD + field, "t"), "k").body == {"x": expected}


@pytest.mark.parametrize(
    "field",
    [
        'x = "work_order.none"',
        'x = "work_order.status.deeper"',
        'x = "work_order.tasks.9.t"',
        'x = { from = "work_order.naive", format = "utc" }',
        'x = { text = "by {work_order.none}, {work_order.tasks}" }',
        'x = { from = "work_order.n", format = "date" }',
        'x = { each = "work_order.status", fields = { y = "t" } }',
    ],
)
def test_a_field_without_a_value_is_left_out(event: Event, field: str) -> None:
    """Nothing is sent as null."""
    assert request.build(event, target.parse(HEAD + field, "t"), "k").body == {}


def test_a_required_field_without_a_value_is_refused(event: Event) -> None:
    """The refusal names the target's field."""
    field = 'x = { from = "work_order.none", required = true }'
    with pytest.raises(request.Unmappable, match="nothing for the target's field x, which is required"):
        request.build(event, target.parse(HEAD + field, "t"), "k")


def test_each_makes_a_list(event: Event) -> None:
    """Every item of a list has its own fields; what is no object gives an empty one."""
    field = 'x = { each = "work_order.tasks", fields = { title = "t", ok = "ok" } }'
    body = request.build(event, target.parse(HEAD + field, "t"), "k").body
    assert body == {"x": [{"title": "a", "ok": True}, {"title": "b"}, {}]}


def test_what_is_in_the_url_is_encoded(event: Event) -> None:
    """No id leads to another resource."""
    assert request.build(event, target.parse(HEAD + 'x = "event.id"', "t"), "k").path == "/orders/wo%2F1%3F"


@pytest.mark.parametrize("wrong", [None, "", "..", "/", True, {"a": 1}, ["a"]])
def test_a_url_that_cannot_be_filled_is_refused(sample: Callable[..., Event], wrong: Any) -> None:
    """Nothing, dots, or what is no text has no place in a path; a slash alone is encoded."""
    parsed = target.parse(HEAD.replace("work_order.id", "work_order.code") + 'x = "event.id"', "t")
    event = sample("work_order.completed", code=wrong)
    if wrong == "/":
        assert request.build(event, parsed, "k").path == "/orders/%2F"
        return
    with pytest.raises(request.Unmappable, match=r"nothing at work_order\.code, which the target's URL needs"):
        request.build(event, parsed, "k")


def test_a_value_that_is_too_long_for_a_url_is_refused(sample: Callable[..., Event]) -> None:
    """A megabyte is no id: said so at once, instead of a request that fails on every try."""
    event = sample("work_order.completed", id="9" * 500_000)
    with pytest.raises(request.Unmappable, match=r"work_order\.id is too long for the target's URL: more than 500"):
        request.build(event, target.parse(HEAD + 'x = "event.id"', "t"), "k")


def test_an_event_about_something_else_is_refused(sample: Callable[..., Event]) -> None:
    """An Action has no Work Order's data to send."""
    with pytest.raises(request.Unmappable, match="names no Work Order"):
        request.build(sample("action.created"), target.load("generic_rest"), "k")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(fields=st.dictionaries(st.sampled_from(["id", "code", "status", "tasks", "site", "finished_at"]), _JSON))
@pytest.mark.parametrize("name", ["generic_rest", "sap_maintenance_order", "servicenow"])
def test_any_event_is_a_request_or_a_clear_refusal(
    event_of: Callable[..., Event], name: str, fields: dict[str, Any]
) -> None:
    """Whatever a payload holds, building the request has these two ends."""
    event = event_of({"id": "e", "type": "work_order.completed", "work_order": fields})
    try:
        prepared = request.build(event, target.load(name), "k")
    except request.Unmappable:
        return
    assert prepared.path.startswith("/")
