"""What a body says: read alike however it is packed and encoded, refused with the true reason, and never costly."""

import base64
import codecs
import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from arq.connections import ArqRedis
from hypothesis import example, given
from hypothesis import strategies as st

from receiver import auth
from receiver.content import DEEPEST, MOST_VALUES, Unreadable, memory_bound, read, size_bound
from tests.conftest import hash_of
from tests.receiver.conftest import StartReceiver, request
from tests.worker.conftest import KEYS

LIMIT = 1024 * 1024
EVENT = '{"id": "e1", "title": "Válvula 🔧"}'
PLAIN = EVENT.encode()


def raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body, wbits=-zlib.MAX_WBITS)


def unreadable(body: bytes, encoding: str | None = None, limit: int = LIMIT) -> str:
    """The reason for which a body is refused."""
    with pytest.raises(Unreadable) as raised:
        read({} if encoding is None else {"content-encoding": encoding}, body, limit)
    return str(raised.value)


# ── packed and encoded ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(PLAIN, mtime=0)),
        (" X-GZIP ", gzip.compress(PLAIN, mtime=1)),
        ("gzip", gzip.compress(PLAIN[:7], mtime=0) + gzip.compress(PLAIN[7:], mtime=0)),
        (
            "gzip",
            gzip.compress(PLAIN[:7], mtime=0)
            + gzip.compress(b"", mtime=0)
            + gzip.compress(PLAIN[7:], mtime=0)
            + b"\0" * 12,
        ),
        ("deflate", zlib.compress(PLAIN)),
        ("deflate", raw_deflate(PLAIN)),
        ("deflate", gzip.compress(PLAIN, mtime=0)),
        ("gzip", zlib.compress(PLAIN)),
        ("deflate, gzip", gzip.compress(zlib.compress(PLAIN), mtime=0)),
        ("gzip, gzip", gzip.compress(gzip.compress(PLAIN, mtime=0), mtime=0)),
        ("identity, gzip,", gzip.compress(PLAIN, mtime=0)),
        ("identity", PLAIN),
        ("", PLAIN),
    ],
)
def test_a_packed_body_is_unpacked(encoding: str, body: bytes) -> None:
    """Gzip in one or several members, deflate with and without zlib's frame, and one in the other."""
    assert read({"content-encoding": encoding}, body, LIMIT) == (json.loads(EVENT), PLAIN)


@pytest.mark.parametrize(
    "body",
    [
        codecs.BOM_UTF8 + PLAIN,
        EVENT.encode("utf-16"),
        EVENT.encode("utf-16-le"),
        EVENT.encode("utf-16-be"),
        codecs.BOM_UTF16_BE + EVENT.encode("utf-16-be"),
        EVENT.encode("utf-32"),
        EVENT.encode("utf-32-le"),
        EVENT.encode("utf-32-be"),
        codecs.BOM_UTF32_BE + EVENT.encode("utf-32-be"),
    ],
)
@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_the_first_bytes_tell_the_encoding(body: bytes, pack: Callable[[bytes], bytes] | None) -> None:
    """UTF-8, UTF-16 and UTF-32 in both orders, with a byte order mark and without, are one and the same text."""
    headers = {"content-encoding": "gzip"} if pack else {}
    assert read(headers, pack(body) if pack else body, LIMIT) == (json.loads(EVENT), PLAIN)


@pytest.mark.parametrize("body", [b" \n{}", b"\r\n\t {}", b'{"a": "\\ud83d"}', b'\xef\xbb\xbf{"a": "\\udfff"}'])
def test_white_space_and_half_characters_are_json(body: bytes) -> None:
    """A body may begin with white space, and JSON can escape half of a surrogate pair."""
    assert read({}, body, LIMIT)[0] == json.loads(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (codecs.BOM_UTF8, "the body is empty"),
        (b"hello", "the body is not JSON (line 1, column 1)"),
        (b'{"a": 1', "the body is not JSON (line 1, column 8)"),
        (b'{"a":\n x}', "the body is not JSON (line 2, column 2)"),
        (b"[]", "the body is JSON but not an object: an array"),
        (b'"x"', "the body is JSON but not an object: a string"),
        (b"null", "the body is JSON but not an object: null"),
        (b"true", "the body is JSON but not an object: true or false"),
        (b"1", "the body is JSON but not an object: a number"),
        ('{"a": "é"}'.encode("latin-1"), "the body is not UTF-8 text (byte 7)"),
        (b'{"a": "\xed\xa0\x80"}', "the body is not UTF-8 text (byte 7)"),
        (b"\x89PNG\r\n\x1a\n", "the body is not UTF-8 text (byte 0)"),
        (b"\xff\xfe{\0}", "the body is not UTF-16 text (byte 4)"),
        (b"{\0}\0\0\xd8", "the body is not UTF-16 text (byte 4)"),
        (codecs.BOM_UTF16_LE + "hello".encode("utf-16-le"), "the body is not JSON (line 1, column 1)"),
        (b"{\0\0\0\xff\xff\xff\xff", "the body is not UTF-32 text (byte 4)"),
        (b"[" * 100_000, f"the body is JSON nested too deeply: more than {DEEPEST} levels"),
        (b'{"a":' * 100_000, f"the body is JSON nested too deeply: more than {DEEPEST} levels"),
        (b'{"a": ' + b"9" * 5000 + b"}", "the body is JSON with a number too long to read"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, reason: str) -> None:
    """The reason is true, one line, and repeats nothing of the body."""
    assert unreadable(body) == reason


PACKED = gzip.compress(PLAIN, mtime=0)


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("gzip", b"", "the body is empty"),
        ("gzip", PLAIN, "the body says gzip and is not"),
        ("deflate", PLAIN, "the body says deflate and is not, or is damaged"),
        ("gzip", PACKED[:-9], "the body's gzip data is cut off"),
        ("gzip", PACKED[:-4], "the body's gzip data is cut off"),
        ("deflate", zlib.compress(PLAIN)[:-1], "the body's deflate data is cut off"),
        ("gzip", PACKED[:12] + b"\xff" + PACKED[13:], "the body says gzip and is not, or is damaged"),
        ("gzip", PACKED[:-8] + b"\0" * 8, "the body says gzip and is not, or is damaged"),
        ("gzip", PACKED + b"more", "the body's gzip data is followed by something else"),
        ("deflate", zlib.compress(PLAIN) + PLAIN, "the body's deflate data is followed by something else"),
        ("br", PLAIN, "the body is compressed with 'br'; expected gzip, deflate or none"),
        ("br, gzip", PACKED, "the body is compressed with 'br'; expected gzip, deflate or none"),
        ("\x1b]52;c;\x9b" + "x" * 99, PLAIN,
         "the body is compressed with '\\x1b]52;c;\\x9bxxxxxxxxxxxx'; expected gzip, deflate or none"),
        ("gzip, gzip, gzip", PACKED, "the body is compressed 3 times; expected 2 at most"),
        ("gzip", gzip.compress(b"", mtime=0) * 101, "the body has more than 100 gzip members"),
        ("gzip", gzip.compress(b" " * 2_000_000, mtime=0), "the body unpacks to more than 100 times its"),
        ("gzip", gzip.compress(b" " * 64 * 1024 + b" ", mtime=0), "the body unpacks to more than 100 times its"),
        ("gzip", gzip.compress(b" " * 1024 * 10_240, mtime=0), "the body unpacks to more than 100 times its"),
        ("gzip", gzip.compress(b" " * 20_000_000, mtime=0), "the body unpacks to more than MAX_BODY_BYTES (1048576)"),
        ("deflate", zlib.compress(b" " * 20_000_000), "the body unpacks to more than MAX_BODY_BYTES (1048576)"),
        ("gzip, gzip", gzip.compress(gzip.compress(b" " * 20_000_000, mtime=0), mtime=0),
         "the body unpacks to more than 100 times its"),
    ],
)  # fmt: skip
def test_what_cannot_be_unpacked_is_refused(encoding: str, body: bytes, reason: str) -> None:
    """The reason is the true one, for what is damaged, not what it says, too large or too much for its size."""
    assert unreadable(body, encoding).startswith(reason)


def test_what_a_small_body_unpacks_to_is_bounded_by_the_floor_only() -> None:
    """However well 64 KiB of JSON compress, they are read."""
    text = b'{"id": "e1"' + b" " * (64 * 1024 - 12) + b"}"
    packed = gzip.compress(text)
    assert len(text) > 100 * len(packed)
    assert read({"content-encoding": "gzip"}, packed, LIMIT)[0] == {"id": "e1"}


# ── as JSON reads it ────────────────────────────────────────────────────────────────────────────────────────────────


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    any_json.map(json.dumps)
    | any_json.map(lambda value: json.dumps({"": value}))
    | st.text(alphabet='{}[]":,eE+-.0123456789truefalsnN \\u\t')
)
@example("1" * 5000)
@example('{"id": 123456789012345678901234567890, "id": 1e400, "a": -0.0}')
@example('{"id": "\\ud83d", "a": NaN}')
@example('{"a": ' + "[" * 150 + '"\\ud83d"' + "]" * 150 + "}")
def test_a_body_is_read_as_json_reads_it(text: str) -> None:
    """The fast parser in front changes neither a value nor whether there is one."""
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    if isinstance(expected, dict):
        assert repr(read({}, text.encode(), LIMIT)[0]) == repr(expected)  # a NaN equals nothing
    else:
        unreadable(text.encode())


@given(
    st.binary() | st.binary().map(gzip.compress) | any_json.map(lambda value: json.dumps(value).encode("utf-16")),
    st.none() | st.sampled_from(["gzip", "deflate", "gzip, deflate", "identity", "br"]) | st.text(),
)
def test_any_bytes_are_content_or_unreadable(body: bytes, encoding: str | None) -> None:
    """Nothing else is raised, and no reason has more than one line."""
    headers = {} if encoding is None else {"content-encoding": encoding}
    try:
        payload, text = read(headers, body, LIMIT)
    except Unreadable as error:
        reason = str(error)
    else:
        reason = "none"
        assert isinstance(payload, dict)
        assert len(text) <= 1.5 * size_bound(headers, body, LIMIT)  # UTF-16 becomes UTF-8
    assert reason.isprintable()


# ── what an event may cost ──────────────────────────────────────────────────────────────────────────────────────────


def listing(item: str, count: int) -> bytes:
    """An object that holds a list of so many equal items."""
    return f'{{"a":[{",".join([item] * count)}]}}'.encode()


TOO_MANY = f"the body is JSON of too many values: more than {MOST_VALUES} commas and opening brackets"


@pytest.mark.parametrize("item", ["1", '""', '"\\\\"', '"\\""', '"a,b"', '"[{,"', '"\\\\\\",,"'])
def test_values_are_counted_before_they_are_made(item: str) -> None:
    """A hundred thousand and no more; what is inside a text is no value, escapes and all."""
    assert len(read({}, listing(item, MOST_VALUES - 1), LIMIT)[0]["a"]) == MOST_VALUES - 1
    assert unreadable(listing(item, MOST_VALUES)) == TOO_MANY


@pytest.mark.parametrize("item", ["[]", "{}", '{"":0}', '{"a":[1]}', '"x",[]'])
def test_lists_and_objects_count_too(item: str) -> None:
    """Empty or full, in a list or in each other."""
    assert read({}, listing(item, MOST_VALUES // 3), LIMIT)
    assert unreadable(listing(item, MOST_VALUES // 2)) == TOO_MANY


def test_a_megabyte_of_commas_in_one_text_is_one_value() -> None:
    """A table of measurements within a text is no reason to turn an event away."""
    assert read({}, json.dumps({"csv": "1,[2],{3}\n" * 100_000}).encode(), LIMIT)


def test_a_larger_limit_allows_more_values() -> None:
    """Who takes bodies of 4 MiB takes four times as many."""
    assert read({}, listing("1", 4 * MOST_VALUES - 1), 4 * LIMIT)
    assert unreadable(listing("1", 4 * MOST_VALUES), limit=4 * LIMIT).startswith("the body is JSON of too many values")


@pytest.mark.parametrize("text", ['""', '"\\ud800"'], ids=["fast", "json"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"[[[[":', "}]")])
def test_depth_is_bounded_alike_by_both_parsers(text: str, opening: str, closing: str) -> None:
    """A hundred levels are read and three hundred are not, however deep the stack of the process already is."""
    levels = opening.count("[", 0, 1) + opening.count("{")

    def nested(depth: int) -> bytes:
        return f'{{"a":{opening * (depth // levels)}{text}{closing * (depth // levels)}}}'.encode()

    assert read({}, nested(100), LIMIT)
    assert unreadable(nested(300)).startswith("the body is JSON nested too deeply")


def shapes() -> dict[str, bytes]:
    """One event of a megabyte in each of the shapes that cost the most."""
    room = LIMIT - 100
    return {
        "digits": b'{"a":"' + b"7" * room + b'"}',
        "emoji": b'{"a":"' + "🔧".encode() * (room // 4) + b'"}',
        "one emoji": '{"a":"🔧'.encode() + b"7" * room + b'"}',
        "escapes": b'{"a":"' + b"\\u009b" * (room // 6) + b'"}',
        "lists": listing("[]", MOST_VALUES // 2 - 1),
        "objects": listing('{"":0}', MOST_VALUES // 2 - 1),
        "nested": listing('{"":' * 100 + "0" + "}" * 100, MOST_VALUES // 101),
        "half characters": listing('"\\ud800"', MOST_VALUES - 1),
        "keys": b"{" + b",".join(b'"%x":0' % number for number in range(90_000)) + b"}",
        "one key": b'{"' + b"k" * room + b'":0}',
        "one key many times": b"{" + b",".join([b'"a":{}'] * (MOST_VALUES // 2 - 1)) + b"}",
        "numbers": listing("9" * 4300, 240),
        "one number": b'{"a":0.' + b"9" * room + b"}",
        "utf-16": listing('{"":0}', 40_000).decode().encode("utf-16"),
    }


@pytest.mark.parametrize("shape", shapes())
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_no_event_takes_more_memory_than_its_bound(shape: str, *, packed: bool) -> None:
    """What a worker is told before it unpacks an event holds for what the event then takes, whatever its shape."""
    body = shapes()[shape]
    headers = {"content-encoding": "gzip"} if packed else {}
    body = gzip.compress(body, 1) if packed else body
    bound = memory_bound(headers, body, LIMIT)
    tracemalloc.start()
    try:
        read_all(headers, body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most <= bound <= 32_000_000


def read_all(headers: dict[str, str], body: bytes) -> tuple[Any, str]:
    """As the worker has it: the payload and the text."""
    try:
        payload, text = read(headers, body, LIMIT)
    except Unreadable:  # a gzip that unpacks to too much costs the most before that is known
        return None, ""
    return payload, text.decode()


@pytest.mark.parametrize("item", ["[],", '"",', '",",', '"\\",",', '{"":0},', '{"":', "["])
def test_what_is_too_much_is_known_before_it_costs_anything(item: str) -> None:
    """A megabyte of values of which none is made: telling takes a few copies of the text and no more."""
    body = b'{"x":[' + item.encode() * (LIMIT // len(item))
    tracemalloc.start()
    try:
        assert unreadable(body).startswith(
            ("the body is JSON of too many values", "the body is JSON nested too deeply")
        )
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 6_000_000


@pytest.mark.parametrize(
    ("headers", "body", "bound"),
    [
        ({}, b"x" * 5000, 5000),
        ({"content-encoding": "identity"}, b"x" * 5000, 5000),
        ({"content-encoding": "gzip"}, b"x" * 10, 65_536),
        ({"content-encoding": "deflate, gzip"}, b"x" * 5000, 500_000),
        ({"content-encoding": "br"}, b"x" * 50_000, LIMIT),
    ],
)
def test_the_size_is_known_before_a_body_is_unpacked(headers: dict[str, str], body: bytes, bound: int) -> None:
    """Its own size, or what its compression may make of it."""
    assert size_bound(headers, body, LIMIT) == bound


# ── in the receiver ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_one_event_is_stored_once_however_it_is_packed(start_receiver: StartReceiver, redis: ArqRedis) -> None:
    """Packed at two times, packed otherwise, in another encoding and plain: duplicates, no conflict, one job."""
    receiver = start_receiver()
    text = json.dumps({"id": "e1", "type": "Action Created", "action": {"id": "a1", "title": "Válvula"}})
    plain = text.encode()
    for encoding, body in (
        ("gzip", gzip.compress(plain, mtime=1)),
        ("gzip", gzip.compress(plain, 1, mtime=time.time())),
        ("gzip", gzip.compress(plain[:20], mtime=0) + gzip.compress(plain[20:], mtime=0)),
        ("deflate", raw_deflate(plain)),
        ("", text.encode("utf-16")),
        ("", codecs.BOM_UTF8 + plain),
        ("", plain),
    ):
        with receiver.connect() as sender:
            sender.send(request(body, content_encoding=encoding))
            assert sender.answer().status == 200
    assert await hash_of(redis, KEYS.counts) == {"accepted": b"1", "duplicates": b"6"}
    [record] = await redis.keys(KEYS.delivery("*"))
    fields = await hash_of(redis, record.decode())
    assert (fields["k"], fields["t"], fields["u"]) == (b"e1", b"action.created", b"action:a1")


@pytest.mark.parametrize(
    "sent",
    [PLAIN, gzip.compress(PLAIN, mtime=0), zlib.compress(PLAIN), b"no event at all"],
    ids=["plain", "gzip", "deflate", "no event"],
)
@pytest.mark.parametrize("sources", ["", "webhook-id,body", "cloudevents,idempotency-key,body"])
async def test_a_signed_message_is_one_event_whatever_is_beside_it(
    start_receiver: StartReceiver, redis: ArqRedis, sent: bytes, sources: str
) -> None:
    """Identity comes from what is signed: with other headers that are not, the same message is a duplicate."""
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    receiver = start_receiver(SIGNING_SECRETS=secret, IDEMPOTENCY_SOURCES=sources)
    now = int(time.time())
    signed = {
        "webhook_id": "m1",
        "webhook_timestamp": str(now),
        "webhook_signature": auth.sign(secret, "m1", now, sent),
    }
    beside = [
        *({}, {"content_encoding": "gzip"}, {"content_encoding": "deflate"}, {"content_encoding": "br"}),
        {"ce_id": "c1", "ce_source": "/s"},
        {"content_type": "application/cloudevents+json", "idempotency_key": "i1"},
    ]
    for headers in beside:
        assert receiver.post(sent, **signed, **headers).status == 200
    assert await hash_of(redis, KEYS.counts) == {"accepted": b"1", "duplicates": b"5"}


def test_a_signature_is_of_the_bytes_as_they_came(start_receiver: StartReceiver) -> None:
    """What was packed is verified before it is unpacked: the same event, signed unpacked, is refused."""
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    receiver = start_receiver(SIGNING_SECRETS=secret)
    now, packed = int(time.time()), gzip.compress(PLAIN, mtime=0)
    for signed, status in ((packed, 200), (PLAIN, 401)):
        headers = {"webhook_id": "m1", "webhook_timestamp": str(now), "content_encoding": "gzip"}
        headers["webhook_signature"] = auth.sign(secret, "m1", now, signed)
        assert receiver.post(packed, **headers).status == status
