"""One request as a value, and the rule that makes its idempotency key."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from arq.jobs import deserialize_job_raw, serialize_job
from hypothesis import given
from hypothesis import strategies as st

from receiver.delivery import Delivery
from receiver.idempotency import IdempotencyRule, delivery_id
from receiver.queue.jobs import FUNCTION, job_key, pack, unpack

DEFAULT = ("event-id", "webhook-id", "cloudevents", "idempotency-key", "body")


def sources(*words: str) -> IdempotencyRule:
    return IdempotencyRule(words or DEFAULT)


def made(body: object, headers: dict[str, str] | None = None, *words: str, at: int = 1_700_000_000_000_000) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return sources(*words).delivery(headers or {}, raw, at)


@pytest.mark.parametrize(
    ("body", "headers", "source", "key"),
    [
        ({"event_id": "e1", "id": "x"}, {"webhook-id": "w1"}, "event-id", "e1"),
        ({"eventId": "e2"}, {}, "event-id", "e2"),
        ({"event": {"id": "e3"}}, {}, "event-id", "e3"),
        ({"id": 4}, {}, "event-id", "4"),
        ({}, {"webhook-id": "w1", "idempotency-key": "i1"}, "webhook-id", "w1"),
        ({}, {"ce-source": "/s", "ce-id": "c1", "idempotency-key": "i1"}, "cloudevents", "/s|c1"),
        ({}, {"ce-id": "c1", "idempotency-key": "i1"}, "idempotency-key", "i1"),
        ({}, {"ce-source": "/s", "idempotency-key": "i1"}, "idempotency-key", "i1"),
        ({}, {"idempotency-key": " i1 "}, "idempotency-key", "i1"),
    ],
)
def test_the_first_source_present_gives_the_key(body: object, headers: dict[str, str], source: str, key: str) -> None:
    """IdempotencyRule are tried in the configured order, and the one used is recorded."""
    delivery = made(body, headers)
    assert (delivery.source, delivery.key) == (source, key)
    assert delivery.id == delivery_id(source, key)


@pytest.mark.parametrize("header", ["content-encoding", "content-type", "ce-id", "idempotency-key", "user-agent"])
def test_of_a_signed_request_only_what_is_signed_is_kept(header: str) -> None:
    """What anyone may have put beside it decides nothing, at the worker neither."""
    signed = IdempotencyRule(DEFAULT, signed=True)
    delivery = signed.delivery({"webhook-id": "w", "webhook-timestamp": "1", header: "gzip"}, b"{}", 1)
    assert delivery.headers == {"webhook-id": "w", "webhook-timestamp": "1"}
    assert (delivery.source, delivery.key) == ("webhook-id", "w")


@pytest.mark.parametrize(("pack", "encoding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
def test_how_a_signed_body_is_packed_is_told_by_itself(pack: Callable[[bytes], bytes], encoding: str) -> None:
    """The header is not signed, so a wrong one makes no event unreadable."""
    signed = IdempotencyRule(DEFAULT, signed=True)
    delivery = signed.delivery({"webhook-id": "w", "content-encoding": "br"}, pack(b'{"id": "e1"}'), 1)
    assert (delivery.key, delivery.headers["content-encoding"]) == ("e1", encoding)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({}, {}),
        ({"id": ""}, {}),
        ({"id": "   "}, {}),
        ({"id": None}, {}),
        ({"id": True}, {}),
        ({"id": 1.5}, {}),
        ({"id": {}}, {}),
        ({"id": []}, {}),
        ({}, {"webhook-id": ""}),
        ({}, {"webhook-id": "  ", "idempotency-key": "\t"}),
        ({}, {"ce-source": "", "ce-id": ""}),
        ({}, {"ce-source": " ", "ce-id": "1"}),
        ([{"id": "in a list"}], {}),
        (b"", {}),
        (b"not JSON", {}),
        (b"\xff\xfe\x00", {}),
        (b"[" * 100_000, {}),
        (b'{"id": ' + b"9" * 5000 + b"}", {}),
    ],
)
def test_a_missing_field_never_becomes_an_empty_key(body: object, headers: dict[str, str]) -> None:
    """With no id anywhere the bytes themselves are the key, so that unrelated events never share one."""
    delivery = made(body, headers)
    assert delivery.source == "body"
    assert delivery.key == hashlib.sha256(delivery.body).hexdigest()


@pytest.mark.parametrize(
    ("word", "headers", "body", "key"),
    [
        ("body:meta.eventId", {}, {"meta": {"eventId": "m1"}, "id": "x"}, "m1"),
        ("header:X-Event-Id", {"x-event-id": "h1"}, {"id": "x"}, "h1"),
        ("body", {"webhook-id": "w1"}, {"id": "x"}, hashlib.sha256(b'{"id": "x"}').hexdigest()),
    ],
)
def test_a_customer_may_name_another_source(word: str, headers: dict[str, str], body: object, key: str) -> None:
    """Any field, any header and the bytes alone can be the key."""
    delivery = made(body, headers, word, "event-id")
    assert (delivery.source, delivery.key) == (word, key)


@pytest.mark.parametrize(
    "word",
    [
        "event_id",
        "",
        "body:",
        "header:",
        "header:x y",
        "header:X-Request-Id",
        "header:traceparent",
        "header:Date",
        "BODY",
    ],
)
def test_a_source_that_cannot_work_is_refused(word: str) -> None:
    """A word unknown, and a header that changes on every attempt, stop the start."""
    with pytest.raises(ValueError, match=r"is no source|changes on every attempt"):
        sources(word)


def test_structured_cloudevents_are_keyed_by_source_and_id() -> None:
    """In structured mode both are in the body; the id alone is not unique."""
    body = {"specversion": "1.0", "source": "/glartek", "id": "7"}
    headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
    assert made(body, headers, "cloudevents").key == "/glartek|7"


def test_equal_keys_of_different_sources_are_different_deliveries() -> None:
    """An event id and a header that happen to read the same do not collide."""
    assert made({"id": "1"}).id != made({}, {"webhook-id": "1"}).id


def test_long_keys_stay_apart() -> None:
    """What is shown of a key is cut, what identifies the delivery is not."""
    one, other = made({"id": "k" * 5000 + "1"}), made({"id": "k" * 5000 + "2"})
    assert one.key == other.key == "k" * 200
    assert one.id != other.id


@pytest.mark.parametrize("event", [{"id": "e1", "name": "Válvula"}, {"name": "Válvula"}], ids=["id", "no id"])
@pytest.mark.parametrize(
    ("headers", "pack"),
    [
        ({"content-encoding": "gzip"}, lambda text: gzip.compress(text.encode(), mtime=1)),
        ({"content-encoding": "gzip"}, lambda text: gzip.compress(text.encode(), 1, mtime=2)),
        ({"content-encoding": "deflate"}, lambda text: zlib.compress(text.encode())),
        ({}, lambda text: text.encode("utf-16")),
        ({}, lambda text: text.encode("utf-8-sig")),
    ],
)
def test_one_event_is_one_delivery_however_it_is_packed(
    event: dict[str, str], headers: dict[str, str], pack: Callable[[str], bytes]
) -> None:
    """Its key and digest are of what the body says, and the bytes are kept as they came."""
    text = json.dumps(event, ensure_ascii=False)
    plain, packed = made(text.encode()), made(pack(text), headers)
    assert (packed.id, packed.key, packed.digest) == (plain.id, plain.key, plain.digest)
    assert (packed.body, packed.headers) == (pack(text), headers)
    assert plain.digest == hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-encoding": "gzip"}, b'{"id": "e1"}'),
        ({"content-encoding": "br"}, b'{"id": "e1"}'),
        ({}, b'{"id": "e1"'),
        ({}, b'{"id": "e1", "x": [' + b"[]," * 200_000 + b"1]}"),
        ({}, b'{"id": "e1", "x": ' + b"[" * 300 + b"]" * 300 + b"}"),
    ],
    ids=["not gzip", "brotli", "cut off", "values", "depth"],
)
def test_what_is_no_event_is_known_by_a_header_or_its_bytes(headers: dict[str, str], body: bytes) -> None:
    """It is stored all the same; the worker makes it a dead letter with the reason."""
    by_header, by_bytes = made(body, headers | {"webhook-id": "w1"}), made(body, headers)
    assert (by_header.source, by_header.key, by_header.body) == ("webhook-id", "w1", body)
    assert (by_bytes.source, by_bytes.key, by_bytes.body) == ("body", hashlib.sha256(body).hexdigest(), body)
    assert by_bytes.digest == hashlib.sha256(body).digest()


@pytest.mark.parametrize("encoding", ["identity", "Identity", " identity "])
def test_identity_is_no_compression(encoding: str) -> None:
    """A body that says that it is not compressed is read like any other."""
    assert made({"id": "e1"}, {"content-encoding": encoding}).source == "event-id"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_the_receiver_reads_type_and_subject(pack: Callable[[bytes], bytes]) -> None:
    """Records and dead letters can name what a delivery was about."""
    event = {"id": "e1", "type": "Work Order Completed", "work_order": {"id": "wo_1"}}
    headers = {} if pack is bytes else {"content-encoding": "gzip"}
    delivery = made(pack(json.dumps(event).encode()), headers)
    assert (delivery.event_type, delivery.subject) == ("work_order.completed", "work_order:wo_1")


def test_what_is_kept_of_a_type_and_a_subject_is_short() -> None:
    """A megabyte of either is no megabyte in a record, and two subjects that begin alike stay two."""
    one, other = (
        made({"type": "action.created", "action": {"id": "a" * 500_000 + end}, "id": end}) for end in ("1", "2")
    )
    assert one.subject != other.subject
    assert len(one.subject) <= 200
    assert len(made({"type": "t" * 500_000}).event_type) <= 100


@pytest.mark.parametrize("escaped", [b'"\\ud800"', b'"\\udfff\\ud800x"'])
def test_a_lone_surrogate_has_a_key(escaped: bytes) -> None:
    """JSON can escape half a character; the delivery still has a key that Redis can hold."""
    delivery = made(b'{"id": ' + escaped + b', "type": ' + escaped + b', "work_order": {"id": ' + escaped + b"}}")
    assert delivery.source == "event-id"
    assert unpack(delivery.job())["a"][0]["key"] == delivery.key


def test_only_harmless_headers_are_kept() -> None:
    """No cookie and no credential of a proxy travels on to Redis."""
    headers = {"authorization": "Basic x", "cookie": "c", "x-forwarded-for": "1", "user-agent": "u", "ce-type": "t"}
    assert made({}, headers).headers == {"user-agent": "u", "ce-type": "t"}


def test_the_job_is_arqs_own_layout() -> None:
    """A stock arq with the same serializer reads, and would have written, the very same job."""
    delivery = made({"id": "e1"}, at=1_700_000_000_123_456)
    name, args, kwargs, job_try, enqueued_ms = deserialize_job_raw(delivery.job(), deserializer=unpack)
    assert (name, kwargs, enqueued_ms) == (FUNCTION, {}, 1_700_000_000_123)
    assert not job_try
    assert Delivery.from_job(args[0]) == delivery
    stock = serialize_job(FUNCTION, (delivery.as_value(),), {}, None, 1_700_000_000_123, serializer=pack)
    assert unpack(stock or b"") == unpack(delivery.job())


def test_a_job_id_is_never_used_twice() -> None:
    """Two acceptances of one event have one id and two job ids, because arq deletes a job by its id."""
    first, second = made({"id": "e1"}, at=1), made({"id": "e1"}, at=2)
    assert first.id == second.id
    assert first.job_id != second.job_id
    assert job_key(first.job_id) == f"arq:job:{first.job_id}"


@pytest.mark.parametrize("value", [None, 1, [], "x", {}, {"id": "only"}, {"unknown": 1}])
def test_a_value_that_is_no_delivery_is_refused(value: Any) -> None:
    """A job of somebody else is told apart with a TypeError."""
    with pytest.raises(TypeError):
        Delivery.from_job(value)


header_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF))
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["id", "event", "type", "work_order", "data", "event_id"]) | st.text(), inner
    ),
    max_leaves=8,
)  # fmt: skip
bodies = st.binary() | any_json.map(lambda value: json.dumps(value).encode())
some_headers = st.dictionaries(
    st.sampled_from(["webhook-id", "ce-id", "ce-source", "idempotency-key", "content-type", "content-encoding"]),
    header_text,
)


@given(bodies, some_headers)
def test_any_request_makes_a_delivery_that_survives_the_queue(body: bytes, headers: dict[str, str]) -> None:
    """No bytes and no headers fail in the receiver, and what the worker reads is what the receiver wrote."""
    delivery = made(body, headers)
    assert delivery.key
    assert delivery.body == body
    assert delivery.digest == hashlib.sha256(body).digest()
    assert Delivery.from_job(unpack(delivery.job())["a"][0]) == delivery


@given(bodies, some_headers, bodies, some_headers)
def test_ids_are_equal_exactly_when_source_and_key_are(
    body: bytes, headers: dict[str, str], other_body: bytes, other_headers: dict[str, str]
) -> None:
    """A delivery's id stands for its key and for nothing else."""
    one, other = made(body, headers), made(other_body, other_headers, at=5)
    both_short = len(one.key) < 200 and len(other.key) < 200
    assert not both_short or ((one.source, one.key) == (other.source, other.key)) == (one.id == other.id)
    assert one.id == made(body, headers, at=9).id


@given(bodies, some_headers)
def test_explain_shows_the_key_that_is_used(body: bytes, headers: dict[str, str]) -> None:
    """The list of all keys begins, past the missing ones, with the one that the delivery got."""
    delivery = made(body, headers)
    source, key = next((word, key) for word, key in sources().all_keys(headers, body) if key)
    assert (source, key[:200]) == (delivery.source, delivery.key)


# ── by content without what changes ─────────────────────────────────────────────────────────────────────────────────


def without(payload: object) -> Delivery:
    return made(payload, None, "event-id", "body-without:sentAt,try.no", "body")


def test_retries_that_differ_in_a_named_field_are_the_same() -> None:
    """In whatever order and spacing; nothing of them is a conflict, for their digest is that of what was compared."""
    first = without({"sentAt": 1, "try": {"no": 1, "of": 3}, "n": 1})
    again = without(b'{"n": 1, "try": {"of": 3, "no": 2}}')
    assert (first.source, first.id, first.digest) == ("body-without:sentAt,try.no", again.id, again.digest)
    assert without({"sentAt": 1, "try": {"no": 1, "of": 4}, "n": 1}).id != first.id
    assert without({"try": 7, "n": 1}).id != first.id


def test_what_is_no_object_is_known_by_its_bytes() -> None:
    """And an event with an id by that."""
    assert without(b"no JSON").source == "body"
    assert without({"id": "e"}).source == "event-id"
    assert without({"n": "\ud800"}).source.startswith("body-without:")


@pytest.mark.parametrize("word", ["body-without:", "body-without:a[]", "body-without:a,,b"])
def test_a_wrong_field_to_leave_out_stops_the_start(word: str) -> None:
    """It would leave nothing out."""
    with pytest.raises(ValueError, match=r"expected dotted paths, such as body-without:sentAt"):
        sources(word)
