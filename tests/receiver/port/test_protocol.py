"""What the port makes of strange and hostile requests, on a real socket of a real receiver."""

import asyncio
import resource
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from tests.conftest import TOKEN, Start
from tests.receiver.conftest import PATH, Receiver, Sender, StartReceiver, bodies, event, listening, request

UPGRADES = ["h2c", "websocket", "TLS/1.2", "foo/1, bar"]
BUDGET = 32 * 1024


def upgraded(body: bytes, upgrade: str = "h2c", **headers: str) -> bytes:
    """A request as Java's HttpClient sends it."""
    return request(body, connection="Upgrade, HTTP2-Settings", upgrade=upgrade, http2_settings="AAMAAABk", **headers)


def statuses(sender: Sender, count: int) -> list[int]:
    return [sender.answer().status for _ in range(count)]


# ── upgrades ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_an_upgrade_is_ignored_and_the_body_is_stored(receiver: Receiver, redis: ArqRedis, upgrade: str) -> None:
    """A body with a length is stored whole, and the next request on the connection is served (RFC 9110, 7.8)."""
    with receiver.connect() as sender:
        sender.send(upgraded(event("e1"), upgrade))
        assert statuses(sender, 1) == [200]
        sender.send(request(event("e2")))
        assert statuses(sender, 1) == [200]
    assert await bodies(redis) == [event("e1"), event("e2")]


async def test_an_upgrade_with_a_chunked_body_is_stored(receiver: Receiver, redis: ArqRedis) -> None:
    """In whatever pieces it arrives, the body is what was sent."""
    head = upgraded(b"", transfer_encoding="chunked", content_length="")
    with receiver.connect() as sender:
        sender.send(head + b"2\r\n{}\r\n", b"1\r\n \r\n", b"0\r\n\r\n")
        sender.send(head + b'9\r\n{"id": 1}\r\n0\r\n\r\n' + request(event("e2")))
        assert statuses(sender, 3) == [200] * 3
    assert await bodies(redis) == [b"{} ", b'{"id": 1}', event("e2")]


async def test_many_upgrades_in_one_piece_are_all_served(receiver: Receiver, redis: ArqRedis) -> None:
    """Pipelined requests that each ask for an upgrade are each stored, in order."""
    with receiver.connect() as sender:
        sender.send(b"".join(upgraded(event(f"e{number}")) for number in range(300)))
        assert statuses(sender, 300) == [200] * 300
    assert await bodies(redis) == [event(f"e{number}") for number in range(300)]


async def test_an_upgrade_that_arrives_byte_by_byte_is_stored(receiver: Receiver, redis: ArqRedis) -> None:
    """Where the parser stops does not depend on how the network cuts the request."""
    with receiver.connect() as sender:
        sender.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
        sent = upgraded(event("e1")) + request(event("e2"))
        sender.send(*(sent[at : at + 7] for at in range(0, len(sent), 7)))
        assert statuses(sender, 2) == [200, 200]
    assert await bodies(redis) == [event("e1"), event("e2")]


async def run(*command: str) -> str:
    """What a client prints."""
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("last", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_an_upgrade_on_a_connection_that_ends_is_stored(receiver: Receiver, redis: ArqRedis, last: bytes) -> None:
    """HTTP/1.0, or `Connection: close` beside the upgrade: stored, answered, closed."""
    sent = upgraded(event("e1")).replace(b"Upgrade, HTTP2", b"Upgrade, close, HTTP2").replace(b"HTTP/1.1", last)
    with receiver.connect() as sender:
        sender.send(sent)
        assert statuses(sender, 1) == [200]
        assert sender.is_closed()
    assert await bodies(redis) == [event("e1")]


async def test_java_s_own_client_loses_nothing(receiver: Receiver, redis: ArqRedis, tmp_path: Path) -> None:
    """Java's HttpClient as it comes asks for h2c in every request: 50 of 50 are stored."""
    if shutil.which("java") is None:
        pytest.skip("no java here: apt-get install default-jdk-headless")
    source = tmp_path / "Post.java"
    source.write_text(JAVA)
    url = f"http://127.0.0.1:{receiver.port}{PATH}"
    assert (await run("java", "-XX:TieredStopAtLevel=1", str(source), url, "50")).split() == ["200"] * 50
    assert sorted(await bodies(redis)) == sorted(b'{"id": "java-%d"}' % number for number in range(50))


JAVA = """
import java.net.URI;
import java.net.http.*;

public class Post {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int number = 0; number < Integer.parseInt(arguments[1]); number++) {
            var body = HttpRequest.BodyPublishers.ofString("{\\"id\\": \\"java-" + number + "\\"}");
            var request = HttpRequest.newBuilder(URI.create(arguments[0])).POST(body).build();
            System.out.println(client.send(request, HttpResponse.BodyHandlers.discarding()).statusCode());
        }
    }
}
"""


async def test_curl_that_asks_for_http2_loses_nothing(receiver: Receiver, redis: ArqRedis) -> None:
    """`curl --http2` over clear text asks for h2c, too."""
    if shutil.which("curl") is None or "HTTP2" not in await run("curl", "--version"):
        pytest.skip("no curl with HTTP/2 here: apt-get install curl")
    url = f"http://127.0.0.1:{receiver.port}{PATH}"
    body = ("--data-binary", event("e1").decode(), "--header", "content-type: application/json")
    assert await run("curl", "-sS", "--http2", "-w", "%{http_code}", *body, url, url) == "200200"
    assert await bodies(redis) == [event("e1")]


# ── framing ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_a_body_without_framing_is_411(receiver: Receiver, redis: ArqRedis, version: str) -> None:
    """Without a length and without chunks nothing says where the body ends: it is never ignored with a 200."""
    with receiver.connect() as sender:
        sender.send(request(event("e1"), content_length="").replace(b"HTTP/1.1", version.encode()))
        answer = sender.answer()
        assert (answer.status, answer.headers["connection"]) == (411, "close")
        assert sender.is_closed()
    assert await bodies(redis) == []


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "chunked, gzip", "identity", "x"])
async def test_a_transfer_coding_other_than_chunked_is_501(receiver: Receiver, redis: ArqRedis, coding: str) -> None:
    """What could never be read is not stored."""
    with receiver.connect() as sender:
        sender.send(request(b"2\r\n{}\r\n0\r\n\r\n", transfer_encoding=coding, content_length=""))
        answer = sender.answer()
        assert (answer.status, answer.headers["connection"]) == (501, "close")
    assert await bodies(redis) == []


async def test_broken_framing_is_answered_after_the_requests_before_it(receiver: Receiver, redis: ArqRedis) -> None:
    """What was whole is stored and has its 200, in order, then the 400 ends the connection."""
    broken = request(b"2\r\n{}\r\nzz\r\n", transfer_encoding="chunked", content_length="")
    for last in (broken, b"GARBAGE\r\n\r\n", request(event("e3"), content_length="x")):
        with receiver.connect() as sender:
            sender.send(request(event("e1")) + request(event("e2")) + last)
            assert statuses(sender, 3) == [200, 200, 400]
            assert sender.is_closed()
    assert await bodies(redis) == [event("e1"), event("e2")]


@pytest.mark.parametrize("count", [1, 3])
async def test_a_sender_that_closes_its_side_is_answered(receiver: Receiver, redis: ArqRedis, count: int) -> None:
    """`nc -N`, and whoever else says so that no more requests come: each of them has its answer, then it is closed."""
    with receiver.connect() as sender:
        sender.send(b"".join(request(event(f"e{number}")) for number in range(count)))
        sender.socket.shutdown(socket.SHUT_WR)
        assert statuses(sender, count) == [200] * count
        assert sender.is_closed()
    assert await bodies(redis) == [event(f"e{number}") for number in range(count)]


async def test_trailers_are_no_headers(receiver: Receiver, redis: ArqRedis) -> None:
    """A trailer cannot name another idempotency key, neither for its own request nor for the next one."""
    chunked = {"transfer_encoding": "chunked", "content_length": ""}
    with receiver.connect() as sender:
        for trailer in (b"webhook-id: a", b"webhook-id: b"):
            sender.send(request(b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n\r\n", **chunked))
            assert statuses(sender, 1) == [200]
        sender.send(request(b"[]"))
        assert statuses(sender, 1) == [200]
    assert await bodies(redis) == [b"{}", b"[]"]


# ── budgets and deadlines ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("piece", [1_000_000, 1000])
@pytest.mark.parametrize(
    "start",
    [request(event("e1"))[:-60].rpartition(b"\r\n")[0] + b"\r\nx-long: ", b"POST /", b"\r\n" * 10],
    ids=["a header", "the path", "empty lines"],
)
async def test_a_head_over_its_budget_is_431(receiver: Receiver, start: bytes, piece: int) -> None:
    """It is refused by its size while it arrives, however it is cut, and the sender sees the answer."""
    with receiver.connect() as sender:
        sender.send(
            start, *[(b"\r\n" * piece)[:piece] if start[:1] == b"\r" else b"a" * piece] * (100_000 // piece + 1)
        )
        answer = sender.answer()
        assert (answer.status, answer.headers["connection"]) == (431, "close")
        assert sender.is_closed()


async def test_trailers_and_chunk_extensions_have_the_same_budget(receiver: Receiver, redis: ArqRedis) -> None:
    """What stands between the pieces of a body is bounded like a head; the pieces themselves are not."""
    chunked = {"transfer_encoding": "chunked", "content_length": ""}
    for start in (b"2\r\n{}\r\n0\r\nx: ", b"2;x="):
        with receiver.connect() as sender:
            sender.send(request(start + b"a" * 1_000_000, **chunked))
            assert statuses(sender, 1) == [431]
    with receiver.connect() as sender:
        sender.send(request(b"".join(b"1;%s\r\n \r\n" % (b"x" * 3000) for _ in range(50)) + b"0\r\n\r\n", **chunked))
        assert statuses(sender, 1) == [200]
    assert await bodies(redis) == [b" " * 50]


async def test_a_head_within_its_budget_is_no_matter_of_what_came_before(receiver: Receiver, redis: ArqRedis) -> None:
    """Each request on a connection has the whole budget, and a body does not count against it."""
    with receiver.connect() as sender:
        for number in range(4):
            sender.send(request(event(f"e{number}", text="x" * 50_000), x_long="a" * (BUDGET - 500)))
            assert statuses(sender, 1) == [200]
    assert len(await bodies(redis)) == 4


async def test_half_a_head_is_408_and_nothing_at_all_is_closed(start_receiver: StartReceiver) -> None:
    """A connection that is opened has its first head's time, however slowly it sends."""
    receiver = start_receiver(HEAD_TIMEOUT="0.5")
    with receiver.connect() as half, receiver.connect() as nothing, receiver.connect() as used:
        half.send(b"POST / HT")
        used.send(request(event("e1")))
        assert statuses(used, 1) == [200]
        used.send(b"\r\n", b"POST /")
        assert statuses(half, 1) == [408]
        assert half.is_closed()
        assert nothing.is_closed()
        assert statuses(used, 1) == [408]


async def test_a_connection_is_kept_for_the_next_request(start_receiver: StartReceiver) -> None:
    """It is kept for KEEP_ALIVE, longer than a proxy in front keeps it, then closed; empty lines do not prolong it."""
    receiver = start_receiver(KEEP_ALIVE="1.5s", HEAD_TIMEOUT="0.3s")
    with receiver.connect() as sender:
        asked = time.monotonic()  # the receiver counts from its answer, which may be read here a while later
        sender.send(request(event("e1")))
        assert statuses(sender, 1) == [200]
        sender.send(b"\r\n")
        assert sender.is_closed()
        assert 1.4 < time.monotonic() - asked < 4


def test_answers_that_are_not_read_hold_no_connection(start: Start, valkey_url: str, tmp_path: Path) -> None:
    """A sender that sends on and on and never reads is cut off; others are served meanwhile."""
    small = "import socket; listen = socket.create_server\n"
    small += "def create(*args, **options):\n"  # a small buffer in the kernel: answers pile up at once
    small += "    server = listen(*args, **options); server.setsockopt(1, 7, 4096); return server\n"
    receiver = patched(start, small + "socket.create_server = create", valkey_url, tmp_path, HEAD_TIMEOUT="0.5s")
    with receiver.connect() as deaf, pytest.raises(OSError, match=r"reset|Broken pipe"):  # noqa: PT012 - somewhere
        for _ in range(2000):
            deaf.send(request(path="/healthz", method="GET") * 500)
            assert receiver.post(event("e1")).seconds < 1


async def test_requests_that_wait_take_bounded_memory(receiver: Receiver, redis: ArqRedis) -> None:
    """Many connections that pipeline thousands of requests do not fill the memory; what is answered 200 is stored."""
    before = memory(receiver)
    sent = request(b"{}", path="/healthz", method="GET") * 3000
    with ExitStack() as open_:
        flood = [open_.enter_context(receiver.connect()) for _ in range(60)]
        for sender in flood:
            sender.socket.settimeout(0.01)
            with suppress(OSError):
                sender.send(sent)
        answer = receiver.post(event("e1"))
        assert answer.status == 200
        assert memory(receiver) - before < 60 << 20
    assert await bodies(redis) == [event("e1")]


# ── the number of connections ───────────────────────────────────────────────────────────────────────────────────


async def test_idle_connections_yield_to_a_new_one(start_receiver: StartReceiver) -> None:
    """Beyond MAX_CONNECTIONS those close first that never sent a request, the oldest first; one warning."""
    receiver = start_receiver(MAX_CONNECTIONS="20", KEEP_ALIVE="1h", HEAD_TIMEOUT="1m")
    with ExitStack() as open_:
        used = open_.enter_context(receiver.connect())
        used.send(request(event("e0")))
        assert statuses(used, 1) == [200]
        strangers = [open_.enter_context(receiver.connect()) for _ in range(100)]
        for number in range(30):
            answer = receiver.post(event(f"e{number}"))
            assert (answer.status, answer.seconds < 1) == (200, True)
        assert strangers[0].is_closed()
        used.send(request(event("last")))
        assert statuses(used, 1) == [200]
    assert receiver.process.output.count("too many connections") == 1


async def test_one_address_has_its_own_bound(start_receiver: StartReceiver) -> None:
    """Beyond MAX_CONNECTIONS_PER_ADDRESS it is that address's own idle connections that are closed."""
    receiver = start_receiver(MAX_CONNECTIONS_PER_ADDRESS="5", HEAD_TIMEOUT="1m")
    with ExitStack() as open_:
        strangers = [open_.enter_context(receiver.connect()) for _ in range(9)]
        assert all(stranger.is_closed() for stranger in strangers[:4])
        assert receiver.post(event("e1")).status == 200
        strangers[-1].send(request(event("e2")))
        assert statuses(strangers[-1], 1) == [200]


def test_connections_stay_below_the_limit_of_open_files(start: Start, valkey_url: str, tmp_path: Path) -> None:
    """With fewer files than MAX_CONNECTIONS allowed, idle connections still do not keep a good sender out."""
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))"
    receiver = patched(start, few, valkey_url, tmp_path, HEAD_TIMEOUT="1m")
    with ExitStack() as open_:
        for _ in range(600):
            open_.enter_context(receiver.connect())
        answers = [receiver.post(event(f"e{number}")) for number in range(20)]
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < 1
    assert "MAX_CONNECTIONS is more than the system allows" in receiver.process.output


def patched(start: Start, preamble: str, url: str, folder: Path, **settings: str) -> Receiver:
    """A receiver whose process runs a few lines first."""
    settings |= {"REDIS_URL": url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "SPOOL_PATH": str(folder / "spool.db")}
    return listening(
        start("-c", f"{preamble}\nimport runpy; runpy.run_module('receiver', run_name='__main__')", **settings)
    )


def memory(receiver: Receiver) -> int:
    """Bytes that the receiver's process has in memory."""
    pages = Path(f"/proc/{receiver.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()
