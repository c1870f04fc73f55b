"""One event as one row: pure, and the same on every machine."""

import json
from collections.abc import Callable
from dataclasses import astuple, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.handlers.audit_log.record import GENESIS, Record, chained, masked, of_event, row_hash
from worker import Event

RECEIVED = datetime(2026, 11, 3, 9, 1, 13, tzinfo=UTC)


def test_the_hash_is_what_it_always_was(record: Callable[..., Record]) -> None:
    """A known answer: a change to what is hashed, or how, would break every log that exists."""
    row = chained(record(1), 1, GENESIS, "2026-11-03T09:01:14.000000+00:00")
    assert row.hash == "6e91228db698f079ab3c1fcd90398d0319209782ca1146cb657c74fbbf053cc6"


@pytest.mark.parametrize("name", [name for name in Record.__dataclass_fields__ if name != "payload"])
def test_the_hash_covers_every_column(record: Callable[..., Record], name: str) -> None:
    """Each column of a record changes the hash; the payload does by its digest."""
    before = astuple(record(1))
    after = astuple(replace(record(1), **{name: "changed"}))
    assert row_hash(1, before, "now", GENESIS) != row_hash(1, after, "now", GENESIS)


@pytest.mark.parametrize(
    ("payload", "path", "expected"),
    [
        ({"a": {"b": 1, "c": 2}}, "a.b", {"a": {"b": "***", "c": 2}}),
        ({"a": [{"b": 1}, {"b": 2, "c": 3}, 4]}, "a.*.b", {"a": [{"b": "***"}, {"b": "***", "c": 3}, 4]}),
        ({"a": {"x": 1, "y": [2]}}, "a.*", {"a": {"x": "***", "y": "***"}}),
        ({"a": {"b": {"c": 1}}}, "a.b", {"a": {"b": "***"}}),
        ({"a": None}, "a", {"a": None}),
        ({"a": 1}, "b.c", {"a": 1}),
        ({"a": 1}, "a.b", {"a": 1}),
        ({"a": [1, 2]}, "a.b", {"a": [1, 2]}),
    ],
)
def test_masking(payload: Any, path: str, expected: Any) -> None:
    """What a path names is hidden whole, what it does not name stays."""
    assert masked(payload, [path]) == expected


def test_a_payload_without_anything_to_mask_is_kept_as_received(sample: Callable[..., Event]) -> None:
    """Byte for byte, spaces included."""
    event = sample()
    assert of_event(event, "k", RECEIVED, ["no.such.path"]).payload == event.raw


def test_what_a_row_is_found_by_is_short(event_of: Callable[[Any], Event]) -> None:
    """Columns with an index take a few thousand bytes at most; the payload has all of an id, however long."""
    long = "é" * 300_000
    event = event_of({"type": "action.created", "id": long, "actor": {"name": long}, "action": {"id": long}})
    record = of_event(event, "k", RECEIVED, ["nothing"])
    assert all(len(text or "") <= 180 for text in (record.event_id, record.actor, record.subject_id))
    assert record.payload == event.raw


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # Hypothesis makes its table of characters once
@given(payload=st.dictionaries(st.sampled_from(["id", "type", "actor", "action", "data"]), _JSON))
def test_every_event_has_a_record(event_of: Callable[..., Event], payload: dict[str, Any]) -> None:
    """Whatever a payload holds, the record of it can be encoded, and its masked payload is still JSON."""
    record = of_event(event_of(payload), "k", RECEIVED, ["actor", "data.*"])
    "".join(value for value in astuple(record) if value).encode()
    assert "\x00" not in "".join(value for value in astuple(record) if value)
    json.loads(record.payload)
