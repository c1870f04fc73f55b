"""A request that holds several events is a delivery for each, wherever their payload map has batches."""

import gzip
import hashlib

import pytest

from receiver.batches import deliveries
from receiver.events import payload_file
from receiver.idempotency import IdempotencyRule

DEFAULT = ("event-id", "webhook-id", "cloudevents", "idempotency-key", "body")


def rule_for(path: str = "events") -> IdempotencyRule:
    return IdempotencyRule(DEFAULT, payload_file.parse(f'[event]\nbatch = "{path}"', "payload.toml"))


def test_a_batch_is_a_delivery_for_each_of_its_events() -> None:
    """Each has its own key, type, subject and text; the request's headers, which name all of them, are nobody's key."""
    body = b'{"sent": 1, "events": [{"id":"a","type":"action.created","action":{"id":7}}, {"n": 1.10}]}'
    headers = {"webhook-id": "w", "content-type": "application/json", "ce-id": "c"}
    one, two = deliveries(rule_for(), headers, body, 5)
    assert (one.source, one.key, one.event_type, one.subject) == ("event-id", "a", "action.created", "action:7")
    assert (two.source, two.body, two.digest) == ("body", b'{"n": 1.10}', hashlib.sha256(b'{"n": 1.10}').digest())
    assert [delivery.headers for delivery in (one, two)] == [{"content-type": "application/json"}] * 2
    assert [delivery.more for delivery in (one, two)] == [{"part": "1 of 2"}, {"part": "2 of 2"}]
    assert one.received_us < two.received_us


def test_an_event_is_the_same_in_another_batch_and_alone() -> None:
    """A sender that comes again with some of a batch, or packed, names the same deliveries."""
    rule, event = rule_for("@"), b'{"id":"a"}'
    ids = {
        delivery.id
        for body, encoding in ((b"[%s,{}]" % event, ""), (gzip.compress(b"[{}, %s]" % event), "gzip"), (event, ""))
        for delivery in deliveries(rule, {"content-encoding": encoding} if encoding else {}, body, 1)
        if delivery.source == "event-id"
    }
    assert len(ids) == 1


def test_cloudevents_in_a_batch_are_known_by_their_own_source_and_id() -> None:
    """As the CloudEvents JSON format has it (section 4)."""
    body = b'[{"source":"/s","id":"1","x":{}}]'
    rule = IdempotencyRule(("cloudevents", "body"), rule_for("@").where)
    [delivery] = deliveries(rule, {"content-type": "application/cloudevents-batch+json"}, body, 1)
    assert (delivery.source, delivery.key) == ("cloudevents", "/s|1")


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b'{"events":[]}', b'{"id":"a"}', b"[%s1]" % (b"1," * 1000)])
def test_what_is_no_batch_or_too_long_a_one_is_one_delivery(body: bytes) -> None:
    """Stored whole; what the worker cannot handle of it is a dead letter that says so."""
    for rule in (rule_for("events"), rule_for("@")):
        [delivery] = deliveries(rule, {"webhook-id": "w"}, body, 1)
        assert (delivery.body, delivery.more) == (body, {})
