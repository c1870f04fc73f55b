"""Memory for bodies: who is refused when it runs out, on a real socket of a real receiver."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests.conftest import Server
from tests.receiver.conftest import Receiver, Sender, StartReceiver, event, request

MEGABYTE = 1024 * 1024
CHUNKED = {"transfer_encoding": "chunked", "content_length": ""}


def chunk(size: int) -> bytes:
    return b"%x\r\n%s\r\n" % (size, b"x" * size)


def begin(receiver: Receiver, sent: int, announced: int = MEGABYTE) -> Sender:
    """A body of which `sent` bytes have arrived."""
    sender = receiver.connect()
    sender.send(request(content_length=str(announced)), b"x" * sent)
    return sender


def test_what_is_announced_and_does_not_come_takes_no_memory(start_receiver: StartReceiver) -> None:
    """Many that announce large bodies and send nothing keep nobody out."""
    receiver = start_receiver(MAX_BUFFERED_BYTES=str(4 * MEGABYTE), BODY_TIMEOUT="5")
    with ExitStack() as open_:
        for _ in range(32):
            open_.enter_context(begin(receiver, 0))
            sender = open_.enter_context(receiver.connect())
            sender.send(request(b"1\r\n{\r\n", **CHUNKED))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: receiver.post(event(f"e{number}", text="x" * 500)), range(100)))
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < 1


def test_the_largest_and_slowest_is_refused_first(start_receiver: StartReceiver) -> None:
    """Room is made by a 503 with Retry-After for the largest that is still arriving, of equals the oldest."""
    receiver = start_receiver(MAX_BUFFERED_BYTES=str(4 * MEGABYTE), BODY_TIMEOUT="5")
    with begin(receiver, 800_000) as oldest, begin(receiver, 900_000) as largest, begin(receiver, 800_000) as next_:
        for sender in (oldest, largest, next_):
            assert not _has_answer(sender)
        assert receiver.post(b"y" * MEGABYTE).status == 200
        with begin(receiver, 800_000), begin(receiver, 800_000):
            answer = largest.answer()
            assert (answer.status, answer.headers["connection"]) == (503, "close")
            assert int(answer.headers["retry-after"]) > 0
            with begin(receiver, 800_000):
                assert oldest.answer().status == 503
                next_.send(b"x" * (MEGABYTE - 800_000))
                assert next_.answer().status == 200


def test_large_bodies_leave_a_share_for_small_ones(start_receiver: StartReceiver, server: Server) -> None:
    """While large deliveries wait for a Redis that is frozen, small ones are stored all the same."""
    receiver = start_receiver(REDIS_URL=server.url, MAX_BUFFERED_BYTES=str(4 * MEGABYTE))
    assert receiver.post(event("first")).status == 200
    server.freeze()
    with ThreadPoolExecutor(40) as pool:
        large = [pool.submit(receiver.post, b"%02d" % number + b"x" * 1_040_000) for number in range(8)]
        time.sleep(0.05)
        small = [pool.submit(receiver.post, event(f"e{number}", text="x" * 4000)) for number in range(100)]
        assert {answer.result().status for answer in small} == {200}
        assert {answer.result().status for answer in large} <= {200, 503}
        assert max(answer.result().seconds for answer in small) < 1
    server.thaw()


def test_one_body_may_take_all(start_receiver: StartReceiver) -> None:
    """The share of the small ones does not make MAX_BODY_BYTES smaller than it says."""
    receiver = start_receiver(MAX_BUFFERED_BYTES=str(MEGABYTE))
    assert receiver.post(b"x" * MEGABYTE).status == 200
    assert receiver.post(b"x" * MEGABYTE, content_type="application/json").status == 200


def test_headers_kept_count_against_the_limit(start_receiver: StartReceiver) -> None:
    """A small body with large headers that are kept is 413 where both together are over the limit."""
    receiver = start_receiver(MAX_BODY_BYTES="4096")
    assert receiver.post(b"{}", ce_data="x" * 9000).status == 413
    assert receiver.post(b"{}", ce_data="x" * 3000).status == 200


def _has_answer(sender: Sender) -> bool:
    sender.socket.settimeout(0.2)
    try:
        return sender.socket.recv(1, 2) != b""  # MSG_PEEK
    except TimeoutError:
        return False
    finally:
        sender.socket.settimeout(15)
