"""nginx, Caddy and HAProxy with the configurations of `deploy/`, each in front of a real receiver."""

import re
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import pytest
from arq.connections import ArqRedis

from receiver.queue.jobs import unpack
from receiver.settings import ReceiverSettings
from tests import parts
from tests.conftest import ROOT, TOKEN, Process, wait_until
from tests.deploy.proxies import PROXIES, Certificate, Proxy, nobody, proxy, required
from tests.forks import Forks
from tests.receiver.conftest import PATH, Receiver, event, request
from worker.console.settings import ConsoleSettings

PORTS = [("nginx", "https"), ("caddy", "https"), ("caddy", "http"), ("haproxy", "https")]
BRIEFLY = ("--burst=20", "--rate=20", "--rate-seconds=0.5", "--max-rate=30", "--huge=2000000", "--slow-body=0.3")
WEBSOCKET = {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ=="}
WEBSOCKET |= {"sec_websocket_version": "13"}
UPGRADE = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
IMPATIENT = {
    "nginx": {"proxy_read_timeout    9s": "proxy_read_timeout 300ms"},
    "caddy": {
        "lb_try_duration 5s": "lb_try_duration 300ms",
        "response_header_timeout 9s": "response_header_timeout 300ms",
    },
    "haproxy": {
        "timeout server          9s": "timeout server 300ms",
        "timeout connect         1s": "timeout connect 100ms",
    },
}
"""Shorter waits for a receiver that is away or says nothing."""
FORGETFUL = {
    "nginx": {"    keepalive_timeout 60s;": "    keepalive_timeout 400ms;"},
    "caddy": {"keepalive 60s": "keepalive 400ms"},
}
"""A shorter life of idle connections to the receiver."""


# ── what a sender sees ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def checks(
    proxies: dict[str, Proxy], certificate: Certificate, forks: Forks, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Process]]:
    """The sender's checks through every port, all at the same time."""
    if not parts.is_here(parts.SENDER):
        pytest.skip("examples/sender was deleted")
    folder = tmp_path_factory.mktemp("checks")
    running = {
        (name, scheme): Process(
            *("-m", "examples.sender", "check", proxies[name].url(scheme), *BRIEFLY),
            env={"SSL_CERT_FILE": str(certificate.file), "COLUMNS": "200"},
            log=folder / f"{name}-{scheme}.log",
            forks=forks,
        )
        for name, scheme in PORTS
        if name in proxies
    }
    yield running
    for process in running.values():
        process.stop()


@pytest.mark.parametrize(("name", "scheme"), PORTS)
def test_all_checks_of_the_sender_pass(name: str, scheme: str, checks: dict[tuple[str, str], Process]) -> None:
    """What `examples.sender check` asks of a receiver holds through the proxy, too."""
    required(name)
    process = checks[name, scheme]
    assert process.wait(60) == 0, process.output
    assert " passed, " in process.output, process.output


@pytest.mark.parametrize(("name", "scheme"), PORTS)
@pytest.mark.parametrize("upgrade", [UPGRADE, WEBSOCKET], ids=["h2c", "websocket"])
async def test_a_body_that_comes_with_an_upgrade_is_stored(
    name: str, scheme: str, upgrade: dict[str, str], proxies: dict[str, Proxy], redis: ArqRedis
) -> None:
    """`Upgrade: h2c`, as libraries send it over clear text and some over TLS: answered 200, and stored whole."""
    required(name)
    body = event(f"upgrade-{name}-{scheme}")
    assert proxies[name].post(body, scheme, **upgrade).status == 200
    assert body in await stored(redis)


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("extra", [-60, 100, 200_000])
async def test_a_body_in_chunks_is_stored_whole_or_refused(
    name: str, extra: int, proxies: dict[str, Proxy], redis: ArqRedis
) -> None:
    """Just under the limit, just above it, and far above: never cut short, which would be a valid request."""
    required(name)
    body = event("chunked", text="x" * ((1 << 20) + extra))
    pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
    head = request(b"", host=proxies[name].host(), content_length="", transfer_encoding="chunked")
    with proxies[name].connect() as sender:
        sender.send(head, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""]))
        assert sender.answer().status == (200 if len(body) <= 1 << 20 else 413)
    assert await stored(redis) == ([body] if len(body) <= 1 << 20 else [])


@pytest.mark.parametrize("name", PROXIES)
async def test_an_event_to_a_host_that_is_not_set_up_is_stored_or_refused(
    name: str, proxies: dict[str, Proxy], redis: ArqRedis
) -> None:
    """Caddy would answer 200 by itself."""
    required(name)
    status = proxies[name].post(event("elsewhere"), host="elsewhere.example.com").status
    assert (status == 200) == (event("elsewhere") in await stored(redis))
    assert status in {200, 421}


@pytest.mark.parametrize(("name", "scheme"), PORTS)
async def test_what_curl_sends_with_http2_is_stored(
    name: str, scheme: str, proxies: dict[str, Proxy], redis: ArqRedis, certificate: Certificate
) -> None:
    """`curl --http2`: an upgrade over clear text, HTTP/2 itself over TLS."""
    required(name, "curl")
    command = ["curl", "--silent", "--show-error", "--http2", "--cacert", str(certificate.file), "--write-out"]
    command += ["%{http_code}", "--data-binary", event(f"curl-{name}-{scheme}").decode(), proxies[name].url(scheme)]
    assert output_of(command) == "200"
    assert event(f"curl-{name}-{scheme}") in await stored(redis)


async def test_what_javas_client_sends_is_stored(
    proxies: dict[str, Proxy], redis: ArqRedis, certificate: Certificate
) -> None:
    """Java's HttpClient as it comes, through every port."""
    required("java", "javac", *PROXIES)
    urls = [proxies[name].url(scheme) for name, scheme in PORTS]
    program = str(ROOT / "tests" / "deploy" / "Post.java")
    command = ["java", "-XX:TieredStopAtLevel=1", program, str(certificate.file), event("java-{}").decode(), *urls]
    assert output_of(command).split() == ["200"] * len(urls)
    kept = await stored(redis)
    assert all(event(f"java-{number}") in kept for number in range(len(urls)))


@pytest.mark.parametrize("name", PROXIES)
def test_only_events_are_passed_on(name: str, certificate: Certificate, tmp_path: Path) -> None:
    """Whatever stands behind the proxy, a console above all: it sees no other path, however that is written."""
    required(name)
    pages = ["/", "/deliveries", "/dead", "/metrics", "/healthz", "/webhooks", "/webhooks/glartekx", "//metrics"]
    pages += ["/webhooks/../metrics", "/%6detrics", "http://console:8001/metrics"]
    with Upstream() as upstream, proxy(name, tmp_path / name, certificate, upstream.port) as in_front:
        for page in pages:
            with in_front.connect() as sender:
                sender.send(request(b"", method="GET", path=page, host=in_front.host()))
                assert sender.answer().status in {400, 404, 421}, page
        assert upstream.asked == []
        assert in_front.post(event("one")).status == 200
    assert upstream.asked == [PATH]


def test_no_proxy_is_told_of_the_console() -> None:
    """Its port is in none of the configurations, not even as the example of a second receiver, which it was."""
    port = str(ConsoleSettings.model_fields["console_port"].default)
    shipped = [path for name in PROXIES for path in (ROOT / "deploy" / name).iterdir()]
    assert [path.name for path in shipped if port in path.read_text(encoding="utf-8")] == []


def output_of(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def stored(redis: ArqRedis) -> list[bytes]:
    """The bodies of all jobs."""
    jobs = [await redis.get(key) async for key in redis.scan_iter("*job:*")]
    return [unpack(job)["a"][0]["body"] for job in jobs if job]


# ── while connections rest, and receivers restart ───────────────────────────────────────────────────────────────


def test_events_after_a_rest_are_stored(proxies: dict[str, Proxy]) -> None:
    """Around 5 s after the last one, when many servers close a connection that their proxy is about to use again."""
    required(*PROXIES)
    waits = (4.9, 4.94, 4.97, 5.0, 5.03)
    with ThreadPoolExecutor(len(proxies) * len(waits)) as pool:
        answers = [pool.submit(twice, in_front, wait) for in_front in proxies.values() for wait in waits]
    assert [both.result() for both in answers] == [[200, 200]] * len(answers)


def twice(in_front: Proxy, wait: float) -> list[int]:
    """The answers to two events on one connection, with a rest between them."""
    with in_front.connect() as sender:
        sender.send(request(event(f"before {wait}"), host=in_front.host()))
        first = sender.answer().status
        time.sleep(wait)
        sender.send(request(event(f"after {wait}"), host=in_front.host()))
        return [first, sender.answer().status]


@pytest.mark.parametrize("name", FORGETFUL)
def test_the_proxy_closes_an_idle_connection_before_the_receiver_does(
    name: str, certificate: Certificate, tmp_path: Path
) -> None:
    """After the 60 s of the configuration (here 0.4 s), where the receiver waits longer: neither uses a closed one."""
    required(name)
    [(shipped_as, _)] = FORGETFUL[name].items()
    shipped_seconds = float(re.findall(r"(\d+)s", shipped_as)[0])
    assert shipped_seconds < ReceiverSettings.model_fields["keep_alive"].default
    with Upstream() as upstream, proxy(name, tmp_path / name, certificate, upstream.port, FORGETFUL[name]) as in_front:
        assert in_front.post(event("one")).status == 200
        wait_until(lambda: upstream.closed_after, 5)
    assert 0.3 < upstream.closed_after[0] < 1.5


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_an_event_on_a_connection_that_the_receiver_has_just_closed_is_sent_again(
    name: str, certificate: Certificate, tmp_path: Path
) -> None:
    """On a new connection; the sender sees nothing of it."""
    required(name)
    with Upstream(serves=1) as upstream, proxy(name, tmp_path / name, certificate, upstream.port) as in_front:
        with in_front.connect() as sender:
            for number in range(4):
                sender.send(request(event(f"{number}"), host=in_front.host()))
                assert sender.answer().status == 200
        assert upstream.cut_off > 0


class Upstream(socketserver.ThreadingTCPServer):
    """A receiver that closes a connection at the request after the first `serves`, and knows when others close one."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0, serves: int = 100) -> None:
        super().__init__(("127.0.0.1", port), UpstreamConnection)
        self.serves = serves
        self.cut_off = 0
        self.asked: list[str] = []
        self.closed_after: list[float] = []
        self.open: set[socket.socket] = set()
        self.port: int = self.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        for connection in self.open:
            with suppress(OSError):  # closed by the other side
                connection.shutdown(socket.SHUT_RDWR)


class UpstreamConnection(socketserver.BaseRequestHandler):
    server: Upstream

    def handle(self) -> None:
        """Each request comes in one piece or two: what has no head is the body of the one before."""
        self.server.open.add(self.request)
        served, answered = 0, time.monotonic()
        while received := self.request.recv(65536):
            if received.startswith(b"GET /healthz"):  # a health check
                self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return
            if b" HTTP/1.1\r\n" in received:
                self.server.asked.append(received.split(b" ")[1].decode())
            if received.startswith(b"POST"):
                if served == self.server.serves:
                    self.server.cut_off += 1
                    return
                served += 1
            if b"}" in received:
                self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                answered = time.monotonic()
        self.server.closed_after.append(time.monotonic() - answered)


@pytest.mark.parametrize("name", PROXIES)
def test_an_event_waits_for_a_receiver_that_restarts_or_is_refused(
    name: str, certificate: Certificate, tmp_path: Path
) -> None:
    """HAProxy, and Caddy from 2.11.2 on, hold what arrives while nobody listens; the others say 502 and no 200."""
    required(name)
    waits = name == "haproxy" or (name == "caddy" and caddy_version() >= (2, 11, 2))
    with ExitStack() as first:
        port = first.enter_context(Upstream()).port
        with ThreadPoolExecutor(1) as pool, proxy(name, tmp_path / name, certificate, port) as in_front:
            assert in_front.post(event("before")).status == 200
            first.close()
            answer = pool.submit(in_front.post, event("meanwhile"))
            wait_until(lambda: answer.running() or answer.done())
            time.sleep(0.3)  # a restart takes its time
            with Upstream(port):
                assert answer.result().status == (200 if waits else 502)


def caddy_version() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", output_of(["caddy", "version"]))[:3]))


# ── what the logs hold ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PROXIES)
def test_the_token_is_in_no_log(
    name: str, proxies: dict[str, Proxy], receiver: Receiver, certificate: Certificate, tmp_path: Path
) -> None:
    """Neither in an access nor in an error log: with the receiver up, away or silent, and whatever the sender does."""
    required(name)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        nobody() as away,
        proxy(name, tmp_path / "away", certificate, away, IMPATIENT[name]) as with_none,
        proxy(name, tmp_path / "silent", certificate, silent.getsockname()[1], IMPATIENT[name]) as with_silent,
    ):
        for in_front, expected in ((proxies[name], {200}), (with_none, {502, 503}), (with_silent, {503, 504})):
            abuse(in_front)
            status = in_front.post(event(f"through {name}")).status
            assert status in expected
            wait_until(lambda: any(str(status) in log for log in in_front.logs().values()))  # noqa: B023
    for in_front in (proxies[name], with_none, with_silent):
        assert [file for file, log in in_front.logs().items() if TOKEN in log] == []
    assert TOKEN not in receiver.process.output


def abuse(in_front: Proxy) -> None:
    """Requests that a proxy may complain about, each with the token in it."""
    heads = [
        {"path": f"{PATH}?{'a' * 70_000}"},
        {"path": f"{PATH}/more"},
        {"path": f"/{PATH}"},
        {"path": f"{PATH} {TOKEN}"},
        {"path": f"{PATH}%zz"},
        {"path": f"/healthz?{TOKEN}", "method": "GET"},
        {"method": "PUT"},
        {"host": ""},
        {"host": "elsewhere.example.com"},
        {"referer": f"https://{in_front.host()}{PATH}"},
        {"extra": "b" * 70_000},
        {"content_length": "2000000"},
        {"content_length": "-1"},
        {"content_length": "5"},
        {"transfer_encoding": "gzip"},
        UPGRADE,
        WEBSOCKET,
    ]
    requests = [request(b"x", **{"host": in_front.host()} | head) for head in heads]
    requests += [request(b"x").replace(b"HTTP/1.1", b"HTTP/9.9"), TOKEN.encode() * 100 + b"\r\n\r\n"]
    with ThreadPoolExecutor(len(requests)) as pool:
        list(pool.map(lambda one: provoke(in_front, one), requests))


def provoke(in_front: Proxy, sent: bytes) -> None:
    """Send this, wait for an answer for a moment, and go."""
    with in_front.connect() as sender, suppress(OSError, AssertionError):
        sender.socket.settimeout(0.5)
        sender.send(sent)
        sender.answer()
