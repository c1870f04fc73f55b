"""One event as one row: pure, and the same on every machine."""

import json
from collections.abc import Callable
from dataclasses import astuple, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from examples.handlers.audit_log.masking import hidden
from examples.handlers.audit_log.record import Head, Record, chained, of_event
from examples.handlers.audit_log.seal import Seal
from receiver.environment import load
from receiver.settings import Settings
from worker import Event

RECEIVED = datetime(2026, 11, 3, 9, 1, 13, tzinfo=UTC)
RECORDED = "2026-11-03T09:01:14.000000+00:00"
KEY = b"k" * 32


def test_the_hash_is_what_it_always_was(record: Callable[..., Record]) -> None:
    """A known answer: a change to what is hashed, or how, would break every log that exists."""
    row = chained(record(1), Head(), RECORDED, Seal())
    assert row["hash"] == "6e91228db698f079ab3c1fcd90398d0319209782ca1146cb657c74fbbf053cc6"


def test_the_hash_under_a_key_is_what_it_always_was(record: Callable[..., Record]) -> None:
    """The same for HMAC-SHA256, whose hash names the key by the start of its SHA-256."""
    row = chained(record(1), Head(), RECORDED, Seal(KEY))
    assert row["hash"] == "hmac:5e318f8c:e84551d0ac753ecedca28aede4d7fcc5e56b7f1787910c194e28eb6bacd91807"


@pytest.mark.parametrize("seal", [Seal(), Seal(KEY)])
@pytest.mark.parametrize("name", [name for name in Record.__dataclass_fields__ if name != "payload"])
def test_the_hash_covers_every_column(record: Callable[..., Record], seal: Seal, name: str) -> None:
    """Each column of a record changes the hash; the payload does by its digest."""
    before = chained(record(1), Head(), RECORDED, seal)
    after = chained(replace(record(1), **{name: "changed"}), Head(), RECORDED, seal)
    assert before["hash"] != after["hash"]


def test_a_payload_without_a_mask_is_kept_as_received(sample: Callable[..., Event]) -> None:
    """Byte for byte, spaces included."""
    event = sample()
    assert of_event(event, "k", RECEIVED).payload == event.raw


def test_heads_are_found_in_text_of_any_kind() -> None:
    """An anchor file, a worker's log in JSON or in colours; never in what only looks like one."""
    plain, keyed = "7" * 64, "hmac:12345678:" + "a" * 64
    text = f'{{"head": "10:{plain}"}}\n\x1b[36mhead\x1b[0m=\x1b[35m11:{keyed}\x1b[0m\nhash={keyed} 3:{plain}0 {plain}'
    assert list(Head.all_in(text)) == [Head(10, plain), Head(11, keyed)]


def test_what_a_row_is_found_by_is_short(event_of: Callable[[Any], Event]) -> None:
    """Columns with an index take a few thousand bytes at most; the payload has all of an id, however long."""
    long = "é" * 300_000
    event = event_of({"type": "action.created", "id": long, "actor": {"name": long}, "action": {"id": long}})
    record = of_event(event, "k", RECEIVED)
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
    event = hidden(event_of(payload), ["actor", "data.*"], load(Settings, redis_url=SecretStr("redis://127.0.0.1/0")))
    record = of_event(event, "k", RECEIVED)
    "".join(value for value in astuple(record) if value).encode()
    assert "\x00" not in "".join(value for value in astuple(record) if value)
    json.loads(record.payload)
