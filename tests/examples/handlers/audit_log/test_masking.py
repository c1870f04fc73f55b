"""What AUDIT_MASK names is nowhere in the record, however the payload is written."""

import json
from collections.abc import Callable
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from examples.handlers.audit_log.masking import hidden
from examples.handlers.audit_log.record import Record, of_event
from receiver.content import DEEPEST
from receiver.environment import load
from receiver.settings import Settings
from worker import Event, masked
from worker.event import parse

SETTINGS = load(Settings, redis_url=SecretStr("redis://127.0.0.1/0"))


def recorded(body: str, *mask: str) -> Record:
    """What the log holds of a body."""
    return of_event(hidden(parse(body.encode(), SETTINGS), mask, SETTINGS), "k", datetime(2026, 11, 3, tzinfo=UTC))


@pytest.mark.parametrize(
    ("payload", "path", "expected"),
    [
        ({"a": {"b": 1, "c": 2}}, "a.b", {"a": {"b": "***", "c": 2}}),
        ({"a": [{"b": 1}, {"b": 2, "c": 3}]}, "a.*.b", {"a": [{"b": "***"}, {"b": "***", "c": 3}]}),
        ({"a": {"x": 1, "y": [2]}}, "a.*", {"a": {"x": "***", "y": "***"}}),
        ({"a": {"b": {"c": 1}}}, "a.b", {"a": {"b": "***"}}),
        ({"a": None}, "a", {"a": None}),
        ({"a": 1}, "b.c", {"a": 1}),
        ({"a": [[{"b": 1}]]}, "a.*.b", {"a": [[{"b": "***"}]]}),
    ],
)
def test_masking(payload: Any, path: str, expected: Any) -> None:
    """What a path names is hidden whole, what it does not name stays."""
    assert masked(payload, [path], SETTINGS.where) == expected


@pytest.mark.parametrize(
    ("payload", "path", "expected"),
    [
        ({"a": "b is Ana"}, "a.b", {"a": "***"}),
        ({"a": 5}, "a.b", {"a": "***"}),
        ({"a": [{"b": 1}, "Ana"]}, "a.b", {"a": [{"b": "***"}, "***"]}),
        ({"a": [{"b": 1}, "Ana"]}, "a.*.b", {"a": [{"b": "***"}, "***"]}),
        ({"a": {"b": {"first": "Ana"}}}, "a.*.b", {"a": {"b": "***"}}),
        ({"aB": {"c_d": 1}}, "a_b.cD", {"aB": {"c_d": "***"}}),
        ({"A-B": {"C D": 1}}, "a_b.cD", {"A-B": {"C D": "***"}}),
        ({"workOrder": {"name": 1}}, "work_order.name", {"workOrder": {"name": "***"}}),
        ({"data": {"work_order": {"name": 1}}}, "workOrder.name", {"data": {"work_order": {"name": "***"}}}),
        ({"data": {"name": 1, "id": 2}}, "work_order.name", {"data": {"name": "***", "id": 2}}),
        ({"data": [{"action": {"name": 1}}]}, "action.name", {"data": [{"action": {"name": "***"}}]}),
        ({"data": "Ana"}, "action.name", {"data": "***"}),
    ],
)
def test_a_mask_has_no_holes(payload: Any, path: str, expected: Any) -> None:
    """Other spellings, lists or single objects, text in place of an object, and the envelope change nothing."""
    assert masked(payload, [path], SETTINGS.where) == expected


@pytest.mark.parametrize(
    ("body", "mask"),
    [
        ('{"type": "t", "actor": {"name": "Ana"}, "actor": {"id": 1}}', "actor.name"),
        ('{"type": "t", "actor": {"name": "Ana", "name": null}}', "actor.name"),
        ('{"type": "t", "actor": {"name": "Ana"}, "actor": null}', "actor.name"),
        ('{"type": "action.created", "action": {"id": "Ana", "id": null}}', "action.id"),
    ],
)
def test_a_key_that_is_there_twice_hides_nothing_from_the_mask(body: str, mask: str) -> None:
    """JSON's readers take the last of two equal names; the first is not written either."""
    assert "Ana" not in str(astuple(recorded(body, mask)))


@pytest.mark.parametrize(
    ("mask", "column"),
    [
        ("event_id", "event_id"),
        ("type", "event_type"),
        ("actor.id", "actor"),
        ("action.id", "subject_id"),
        ("occurredAt", "occurred_at"),
    ],
)
def test_a_column_shows_nothing_that_is_masked(mask: str, column: str) -> None:
    """Every column is taken from the masked payload, the id and the type too."""
    body = {
        "event_id": "Ana",
        "type": "Action Created",
        "actor": {"id": "Ana"},
        "action": {"id": "Ana"},
        "occurred_at": "2026-11-03T09:00:00+00:00",
    }
    assert getattr(recorded(json.dumps(body), mask), column) in {"***", None}
    assert getattr(recorded(json.dumps(body), "no.such.path"), column) not in {"***", None}


def test_what_is_written_is_the_masked_text(sample: Callable[..., Event]) -> None:
    """Readable JSON with its accents, and everything that no path names."""
    event = sample("work_order.completed")
    record = recorded(event.raw, "work_order.assignees.name")
    assert json.loads(record.payload) == masked(event.payload, ["work_order.assignees.*.name"], SETTINGS.where)
    assert "Inspeção" in record.payload
    assert "***" in record.payload


def test_text_that_utf_8_does_not_know_is_masked_like_any_other() -> None:
    """Half a surrogate pair beside the masked value neither stops the record nor changes what it says."""
    record = recorded(r'{"type": "t", "actor": {"name": "Ana"}, "note": "\ud800"}', "actor.name")
    assert json.loads(record.payload) == {"type": "t", "actor": {"name": "***"}, "note": "\ud800"}


def test_the_deepest_event_is_masked() -> None:
    """As deep as an event may be, it is walked through to its end."""
    deep = DEEPEST - 2  # and an object around it, and one within
    row = recorded('{"type": "t", "actor": ' + "[" * deep + '{"name": "Ana"}' + "]" * deep + "}", "actor.name")
    assert "Ana" not in str(row)
