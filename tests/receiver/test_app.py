"""Every row of the HTTP contract, on a real socket, from a real process."""

import asyncio
import base64
import resource
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from arq.connections import ArqRedis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from receiver import auth
from receiver.queue.connection import connect
from receiver.queue.jobs import unpack
from tests.conftest import TOKEN, Server, wait_until
from tests.receiver.conftest import KEYS, PATH, Answer, Receiver, Sender, StartReceiver, bodies, event, request

MEGABYTE = 1024 * 1024
SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, or so!").decode()


def is_bare(answer: Answer) -> bool:
    """Whether the answer is empty, with no header but those that say so."""
    return not answer.body and answer.headers.keys() <= {"content-length", "connection", "allow", "retry-after"}


# ── 200 ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_delivery_is_stored_and_answered_with_an_empty_200(receiver: Receiver, redis: ArqRedis) -> None:
    """200, no body, and no header that HTTP does not need."""
    answer = receiver.post(event("e1"))
    assert (answer.status, answer.headers, answer.body) == (200, {"content-length": "0"}, b"")
    assert await bodies(redis) == [event("e1")]


async def test_a_duplicate_is_answered_as_the_first_was(receiver: Receiver, redis: ArqRedis) -> None:
    """The sender cannot tell, and need not."""
    assert [receiver.post(event("e1")).status for _ in range(3)] == [200, 200, 200]
    assert await bodies(redis) == [event("e1")]


@pytest.mark.parametrize(
    "body",
    [b"", b"not JSON", b"[]", b"null", b"{}", b"\xff\xfe\x00", b"[" * 200_000, event("e", type="never heard of it"),
     b'{"id": "\\ud800"}', b"x" * MEGABYTE],
    ids=["empty", "text", "array", "null", "object", "bytes", "deep", "unknown", "surrogate", "limit"],
)  # fmt: skip
async def test_any_body_is_stored(receiver: Receiver, redis: ArqRedis, body: bytes) -> None:
    """With the right token nothing is turned away for what it says: the worker sorts it out and nothing is lost."""
    assert receiver.post(body).status == 200
    assert await bodies(redis) == [body]


async def test_a_compressed_body_is_stored_as_it_came(receiver: Receiver, redis: ArqRedis) -> None:
    """The receiver does not unpack, and the worker can tell that it must."""
    assert receiver.post(b"\x1f\x8bwhatever", content_encoding="gzip").status == 200
    [job_id] = await redis.zrange(KEYS.queue, 0, -1)
    value = unpack(await redis.get(b"arq:job:" + job_id))["a"][0]
    assert (value["body"], value["headers"]["content-encoding"]) == (b"\x1f\x8bwhatever", "gzip")


async def test_chunks_are_put_batcher(receiver: Receiver, redis: ArqRedis) -> None:
    """A body in pieces is one body."""
    with receiver.connect() as sender:
        sender.send(request(transfer_encoding="chunked", content_length=""))
        sender.send(b"2\r\n{}\r\n", b"1\r\n \r\n", b"0\r\n\r\n")
        assert sender.answer().status == 200
    assert await bodies(redis) == [b"{} "]


async def test_a_connection_is_kept_and_pipelining_works(receiver: Receiver, redis: ArqRedis) -> None:
    """One connection carries delivery after delivery, sent one by one or all at once."""
    with receiver.connect() as sender:
        for number in range(5):
            sender.send(request(event(f"one{number}")))
            assert sender.answer().status == 200
        sender.send(b"".join(request(event(f"all{number}")) for number in range(5)))
        assert [sender.answer().status for _ in range(5)] == [200] * 5
    assert len(await bodies(redis)) == 10


async def test_a_sender_that_asks_first_is_told_to_go_on(receiver: Receiver) -> None:
    """`Expect: 100-continue` is answered, so that such a sender does not wait for its own time-out."""
    with receiver.connect() as sender:
        body = event("e1")
        sender.send(request(b"", content_length=str(len(body)), expect="100-continue"))
        assert sender.answer().status == 100
        sender.send(body)
        assert sender.answer().status == 200


async def test_many_at_once_are_all_answered(receiver: Receiver, redis: ArqRedis) -> None:
    """Deliveries that arrive together are each stored, and answered, once."""

    def fifty(thread: int) -> list[int]:
        with receiver.connect() as sender:
            statuses = []
            for number in range(50):
                sender.send(request(event(f"{thread}-{number}")))
                statuses.append(sender.answer().status)
            return statuses

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(fifty, range(8)))
    assert {status for statuses in results for status in statuses} == {200}
    assert len(set(await bodies(redis))) == 400


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    ["/", "/webhooks/glartek", "/webhooks/glartek/", "/webhooks/glartek/wrong-token-0123456789abcdef", f"{PATH}x",
     f"{PATH}/", f"{PATH}/more", f"/webhooks/glartek/{TOKEN.upper()}", f"/{TOKEN}", "/webhooks/glartek/%ff%00",
     "/healthz/", "/docs", f"/webhooks//glartek/{TOKEN}", "/webhooks/glartek/" + "x" * 5000],
)  # fmt: skip
async def test_a_wrong_token_and_any_other_path_are_404(receiver: Receiver, redis: ArqRedis, path: str) -> None:
    """Nothing tells a stranger how near the guess was, and nothing is stored."""
    answer = receiver.post(event("e1"), path=path)
    assert answer.status == 404
    assert is_bare(answer)
    assert await bodies(redis) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_another_method_is_405(receiver: Receiver, method: str) -> None:
    """Only POST delivers."""
    answer = receiver.post(method=method)
    assert answer.status == 405
    assert is_bare(answer)


@pytest.mark.parametrize(
    "sent",
    [b"GARBAGE\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"POST \xff\xff HTTP/1.1\r\nhost: k\r\n\r\n",
     b"\x16\x03\x01\x00\xa5",
     request(content_length="-1"), request(content_length="abc"), request(content_length="99999999999999999999999"),
     b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: k\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
     b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: k\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n123456"],
)  # fmt: skip
async def test_what_is_no_http_is_no_server_error(receiver: Receiver, sent: bytes) -> None:
    """A broken request is refused as the sender's mistake, without a traceback, and the receiver lives on."""
    with receiver.connect() as sender:
        sender.send(sent)
        sender.socket.shutdown(socket.SHUT_WR)
        received = sender.socket.recv(1000)
        assert not received or 400 <= int(received.split(b" ")[1]) < 500
    assert receiver.post(event("e1")).status == 200


async def test_a_body_over_the_limit_is_413_by_its_length(receiver: Receiver, redis: ArqRedis) -> None:
    """It is refused by what it says of itself, before it was sent, and the connection ends."""
    with receiver.connect() as sender:
        sender.send(request(content_length=str(10 * MEGABYTE * MEGABYTE)))
        answer = sender.answer()
        assert answer.status == 413
        assert answer.headers["connection"] == "close"
        assert answer.seconds < 1
        assert is_bare(answer)
    assert await bodies(redis) == []


async def test_a_body_over_the_limit_is_413_in_chunks(receiver: Receiver, redis: ArqRedis) -> None:
    """A sender that says no length is stopped at the limit, and sees the answer although it was still sending."""
    with receiver.connect() as sender:
        sender.send(request(transfer_encoding="chunked", content_length=""))
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        sender.send(*[chunk] * 20)
        answer = sender.answer()
        assert answer.status == 413
        assert sender.is_closed()
    assert await bodies(redis) == []


async def test_an_endless_body_is_not_read_to_its_end(receiver: Receiver) -> None:
    """A sender that never stops is cut off after little more than the limit."""
    sent = 0
    with receiver.connect() as sender:
        sender.send(request(transfer_encoding="chunked", content_length=""))
        with pytest.raises(OSError, match="reset|Broken pipe"):  # noqa: PT012, RUF043 - it ends somewhere in this loop
            while sent < 200 * MEGABYTE:
                sender.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                sent += 0x10000
    assert sent < 30 * MEGABYTE


async def test_a_slow_body_is_408_and_the_connection_ends(receiver: Receiver, redis: ArqRedis) -> None:
    """Who does not send what was announced is not waited for."""
    with receiver.connect() as sender:
        sender.send(request(content_length="100"), b"{")
        answer = sender.answer()
        assert answer.status == 408
        assert 0.4 < answer.seconds < 3
        assert answer.headers["connection"] == "close"
        assert sender.is_closed()
    assert await bodies(redis) == []


async def test_a_sender_that_hangs_up_is_no_error(receiver: Receiver, redis: ArqRedis) -> None:
    """Half a body and then nothing: not stored, no traceback, no 500, whether it closes or resets."""
    before = receiver.process.output.count('"status": 400')
    for linger in (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)):
        with receiver.connect() as sender:
            sender.send(request(content_length="100"), b"half")
            sender.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await asyncio.to_thread(wait_until, lambda: receiver.process.output.count('"status": 400') == before + 2)
    assert receiver.post(event("e1")).status == 200
    assert await bodies(redis) == [event("e1")]


async def test_a_sender_that_does_not_wait_for_the_answer_is_stored(receiver: Receiver, redis: ArqRedis) -> None:
    """A whole body is a delivery, even when its sender is gone before the answer."""
    with receiver.connect() as sender:
        sender.send(request(event("e1")))
    async with asyncio.timeout(5):
        while not await bodies(redis):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.01)


# ── signatures, tokens, health ──────────────────────────────────────────────────────────────────────────────────


def test_a_signature_is_checked_where_one_is_required(start_receiver: StartReceiver) -> None:
    """With SIGNING_SECRETS a delivery that is not signed, or badly, is 401; a signed one is 200."""
    receiver = start_receiver(SIGNING_SECRETS=SECRET)
    body, now = event("e1"), int(time.time())
    signature = auth.sign(SECRET, "m1", now, body)
    headers = {"webhook_id": "m1", "webhook_timestamp": str(now), "webhook_signature": signature}
    refused = receiver.post(body)
    assert refused.status == 401
    assert is_bare(refused)
    assert receiver.post(body + b" ", **headers).status == 401
    assert receiver.post(body, **headers | {"webhook_signature": "v1,\xff\xfe"}).status == 401
    assert receiver.post(body, **headers).status == 200


def test_two_tokens_are_in_force_while_one_is_replaced(start_receiver: StartReceiver) -> None:
    """Old and new URL both deliver."""
    receiver = start_receiver(WEBHOOK_TOKEN=f"{TOKEN},another-0123456789abcdef")
    assert receiver.post(path=PATH).status == 200
    assert receiver.post(path="/webhooks/glartek/another-0123456789abcdef").status == 200


# ── trouble with Redis ──────────────────────────────────────────────────────────────────────────────────────────


async def test_redis_frozen_is_answered_within_a_second(server: Server, start_receiver: StartReceiver) -> None:
    """No answer takes over a second because of Redis, and all of them end on the queue."""
    receiver = start_receiver(REDIS_URL=server.url)
    assert receiver.post(event("first")).status == 200
    server.freeze()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: receiver.post(event(f"e{number}")), range(40)))
    server.thaw()
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < 1
    redis = connect(server.url)
    await asyncio.to_thread(receiver.process.wait_for, "spool drained")
    assert len(set(await bodies(redis))) == 41
    await redis.aclose()


async def test_no_redis_at_the_start_is_no_reason_not_to_start(server: Server, start_receiver: StartReceiver) -> None:
    """The receiver comes up before Redis does, and delivers what it took meanwhile."""
    server.kill()
    receiver = start_receiver(REDIS_URL=server.url)
    assert receiver.post(event("e1")).status == 200
    server.start()
    receiver.process.wait_for("spool drained")
    redis = connect(server.url)
    assert await bodies(redis) == [event("e1")]
    await redis.aclose()


def test_neither_redis_nor_disk_is_503_with_retry_after(server: Server, start_receiver: StartReceiver) -> None:
    """When nothing can be stored the sender is told to come again; what fits is still stored."""
    receiver = start_receiver(REDIS_URL=server.url)
    server.kill()
    resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))  # as a disk that is full
    answer = receiver.post(b"x" * 200_000)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert is_bare(answer)
    assert receiver.post(event("small")).status == 200
    server.start()
    receiver.process.wait_for("spool drained")
    assert receiver.post(b"x" * 200_000).status == 200
    assert "Traceback" not in receiver.process.output


# ── fuzz ────────────────────────────────────────────────────────────────────────────────────────────────────────

token_characters = st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters=":\x7f")
names = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789-"), min_size=1, max_size=20).filter(
    lambda name: name not in {"content-length", "transfer-encoding", "expect", "connection"}
)


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    path=st.one_of(
        st.just(PATH),
        st.text(token_characters, max_size=40).map(lambda text: "/webhooks/glartek/" + text),
        st.text(token_characters, max_size=40).map(lambda text: "/" + text),
    ),
    headers=st.dictionaries(names, st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=60)),
    body=st.binary(max_size=2000),
    chunks=st.lists(st.integers(1, 500), max_size=5),
    upgrade=st.sampled_from(["", "", "h2c", "websocket", "TLS/1.2", "HTTP/2.0, SHTTP/1.3"]),
)
async def test_no_request_is_a_server_error(  # noqa: PLR0917 - hypothesis names them
    receiver: Receiver,
    redis: ArqRedis,
    path: str,
    headers: dict[str, str],
    body: bytes,
    chunks: list[int],
    upgrade: str,
) -> None:
    """Whatever the path, headers, body, chunks and upgrade: an answer that is no 5xx, at once, and a 200 is stored."""
    if upgrade:
        headers |= {"connection": "Upgrade, HTTP2-Settings", "upgrade": upgrade}
    await redis.flushall()
    if chunks:
        pieces, rest = [], body
        for size in chunks:
            pieces.append(rest[:size])
            rest = rest[size:]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, rest] if piece) + b"0\r\n\r\n"
        headers |= {"transfer-encoding": "chunked", "content-length": ""}
        sent = request(b"", path, **headers) + framed
    else:
        sent = request(body, path, **headers)
    with Sender(receiver.port) as sender:
        sender.send(sent)
        answer = sender.answer()
    assert 200 <= answer.status < 500
    assert (answer.status == 200) == (path == PATH) or answer.status == 400
    assert answer.seconds < 1
    assert await bodies(redis) == ([body] if answer.status == 200 else [])
