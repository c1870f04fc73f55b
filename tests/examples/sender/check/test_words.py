"""What a finding says: what was seen, how likely it is, and advice that can help."""

import asyncio
import json
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Literal

import pytest

from examples.sender.check.context import CheckContext, said
from examples.sender.check.findings import CHECKS, LIKELY, Finding
from examples.sender.check.run import begin, checks, estimate, findings
from examples.sender.http.recording import Answer, Arrival, RecordingReceiver
from examples.sender.http.reply import Parsing
from tests.examples.sender.check.flawed import QUICK, always, good, is_compressed, refuses_duplicates, says
from tests.examples.sender.check.serving import Answering, serving
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio


async def found(answers: Answering, *names: str) -> list[Finding]:
    async with serving(answers) as url:
        return [finding async for finding in findings(CheckContext(url, QUICK), names)]


@pytest.mark.parametrize(
    ("answer", "helps"),
    [
        (Answer(404), "Correct the path and the token"),
        (Answer(403), "find out what refuses it"),
        (Answer(401), "pass --secret"),
        (Answer(405), "Accept POST"),
        (Answer(400), "--samples"),
        (Answer(429), "rate limit"),
        (Answer(500), "receiver's log"),
        (Answer(503), "overloaded or not ready"),
        (Answer(307, headers={"location": "/there"}), "the URL that this one redirects to"),
        (Answer(204), "Answer 200 with an empty body"),
        (Answer(ending="reset"), "broke the connection"),
    ],
)
async def test_advice_fits_the_answer(answer: Answer, helps: str) -> None:
    """An ordinary event that is refused is told what helps against that answer, and nothing else."""
    (finding,) = await found(lambda _: answer, "only-200-or-201")
    assert finding.status == "failed"
    assert helps in finding.mend


@pytest.mark.parametrize("answer", [Answer(ending="reset"), Answer(500)])
async def test_what_fails_now_and_then_is_told_so_whatever_was_sent(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No finding blames the size or the content of an event for an answer that ordinary events get as often."""
    monkeypatch.setattr("examples.sender.check.run._FOR", 60.0)
    names = ("only-200-or-201", "duplicates-one-after-another", "large-body", "secret-in-url")
    every, *others, secret = await found(lambda one: answer if one.number % 3 == 2 else Answer(200), *names)
    assert "7 times) of 20 events of one type" in every.seen
    for finding in others:
        assert finding.mend.startswith("Ordinary events are answered so now and then")
        assert finding.mend.endswith(every.mend.rpartition(": begin there. ")[2])
    assert "long random token" in secret.mend  # of which no answer is the cause


async def test_one_refusal_at_first_hides_no_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that starts with a 503 is checked like any other, and this 503 is a failure."""
    monkeypatch.setattr("examples.sender.check.run._FOR", 60.0)
    async with serving(lambda one: Answer(503) if one.number == 1 else good(one)) as url:
        report = await run("check", url, "--only", "only-200-or-201", "--only", "lean-answer", "--json")
    every, lean = report.json()["findings"]
    assert (report.code, every["status"], lean["status"]) == (1, "failed", "passed")
    assert "503 of 20 events of one type" in every["seen"]


def test_100_continue_is_no_answer() -> None:
    """A connection that is closed after it is told as closed."""
    parsing = Parsing()
    parsing.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    parsing.ended()
    assert said([parsing.reply]) == "the connection was closed without an answer"


@pytest.mark.parametrize("ending", ["reset", "half"])
@pytest.mark.parametrize("name", ["duplicates-at-once", "prompt-under-load", "burst-after-a-pause"])
async def test_a_server_that_breaks_connections_when_there_are_many_is_told_so(
    name: str, ending: Literal["reset", "half"]
) -> None:
    """A short listen backlog resets them before any request is read: no claim of an id and no queue helps."""
    (finding,) = await found(
        lambda arrival: Answer(ending=ending) if arrival.together > 3 else replace(good(arrival), delay=0.1), name
    )
    assert finding.status == "failed"
    assert "backlog" in finding.mend


class OneAtATime(BaseHTTPRequestHandler):
    """Of the standard library's server without threads: one connection keeps all others waiting."""

    timeout = 10  # seconds without a byte: the server ends although a connection is left open

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


async def test_a_server_that_serves_one_connection_at_a_time_is_not_sent_to_its_firewall() -> None:
    """Where no further connection is accepted beside stalled ones, the advice is about these."""
    with HTTPServer(("127.0.0.1", 0), OneAtATime) as server, ThreadPoolExecutor() as threads:
        threads.submit(server.serve_forever, 0.05)
        context = CheckContext(f"http://127.0.0.1:{server.server_port}/", replace(QUICK, timeout=0.5))
        try:
            (finding,) = [one async for one in findings(context, ["stalled-bodies"])]
        finally:  # in a thread: it waits for the connections, and this loop has still to close them
            await asyncio.to_thread(server.shutdown)
    assert (finding.status, "cannot connect" in finding.seen) == ("failed", True)
    assert "a thread or a process on each slow connection" in finding.mend


async def test_a_server_that_takes_chunks_for_another_request_is_told_so() -> None:
    """What it answers to them is not HTTP; that it speaks TLS is out of the question once it took an ordinary event."""

    async def without_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().casefold()
        if length := re.search(r"content-length: (\d+)", head):
            await reader.readexactly(int(length[1]))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" if length else b"<html>what?</html>\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(without_chunks, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        (finding,) = [one async for one in findings(CheckContext(url, QUICK), ["chunked-body"])]
    assert "not HTTP" in finding.seen
    assert "Transfer-Encoding: chunked" in finding.mend


async def test_advice_fits_what_kept_the_event_from_arriving(run: Run, tmp_path: Path) -> None:
    """A closed port, a name that nobody knows, a certificate that nobody trusts, http on an https port."""
    async with RecordingReceiver() as receiver:
        closed = receiver.url
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1")
    files = ("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert"))
    openssl = await asyncio.create_subprocess_exec("openssl", *made, *files, stderr=asyncio.subprocess.DEVNULL)
    assert await openssl.wait() == 0
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    async with RecordingReceiver(tls=server) as strange, RecordingReceiver() as plain:
        helps = {
            closed: "Nothing listens there",
            "http://no-such-host.invalid/": "host name",
            strange.url: "Serve a certificate",
            plain.url.replace("http", "https"): "compare http:// and https://",
        }
        for url, expected in helps.items():
            report = (await run("check", url, "--only", "only-200-or-201", "--json")).json()
            assert expected in report["findings"][0]["mend"], (url, report)
            assert "empty body" not in report["findings"][0]["mend"]


async def test_a_stream_that_nobody_took_has_no_latency_and_is_not_told_of_rate_limits() -> None:
    """Where nothing succeeded there is no "99 % within"; a plain 500 is no rate limit, a 429 is one."""
    streams = {500: "receiver's log", 429: "rate limit"}
    for status, helps in streams.items():
        reused: set[int] = set()

        def answer(arrival: Arrival, status: int = status, reused: set[int] = reused) -> Answer:
            reused.add(arrival.connection)
            return Answer(status) if arrival.number > 2 else good(arrival)

        (finding,) = await found(answer, "steady-stream")
        assert finding.status == "failed"
        assert "99 %" not in finding.seen
        assert helps in finding.mend


async def test_only_deep_nesting_that_breaks_it_is_a_note(run: Run) -> None:
    """5 000 brackets answered 500 are no failure when every other shape is taken: exit code 0."""
    async with serving(says(500, lambda arrival: arrival.body.startswith(b"[["))) as url:
        report = await run("check", url, "--only", "unexpected-shapes", "--json")
    (finding,) = report.json()["findings"]
    assert (report.code, finding["status"]) == (0, "warning")
    assert "5000 bytes" in finding["seen"]
    assert finding["likely"].startswith("unlikely")


async def test_a_refusal_is_never_told_as_passed() -> None:
    """A receiver that answers 409 to any duplicate fails one check, and the one that could not tell more is skipped."""
    one, at_once = await found(refuses_duplicates(), "duplicates-one-after-another", "duplicates-at-once")
    assert (one.status, at_once.status) == ("failed", "skipped")
    assert "duplicates-one-after-another" in at_once.seen


@pytest.mark.parametrize(("status", "verdict"), [(415, "warning"), (500, "failed"), (200, "passed")])
async def test_who_says_that_it_does_not_unpack_is_only_warned(status: int, verdict: str) -> None:
    """415 to a compressed event is honest; a crash is a failure."""
    (finding,) = await found(says(status, is_compressed), "compressed-body")
    assert finding.status == verdict


def is_longer(limit: int, arrival: Arrival) -> bool:
    return len(arrival.body) > limit


async def test_large_events_are_told_by_size() -> None:
    """Refusing only 1 MiB is a warning; less than that is too little."""
    for limit, verdict in ((1_000_000, "warning"), (200_000, "failed")):
        (finding,) = await found(says(413, partial(is_longer, limit)), "large-body")
        assert (finding.status, "1024 KiB: 413" in finding.seen) == (verdict, True)


async def test_connections_that_are_closed_when_idle_are_a_warning() -> None:
    """A receiver that closes them properly is right, and still worth a word."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            try:
                async with asyncio.timeout(0.2):
                    await reader.read(0)
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            except (TimeoutError, asyncio.IncompleteReadError):
                break
        writer.close()

    async with await asyncio.start_server(closing, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        context = CheckContext(url, replace(QUICK, idle=(0.5,)))
        (finding,) = [finding async for finding in findings(context, ["idle-connections"])]
    assert finding.status == "warning"
    assert "5 closed by the receiver" in finding.seen


async def test_a_slow_receiver_that_closes_what_was_idle_for_long_is_in_the_right() -> None:
    """The events sent at once after the pause take long, and so kept connections are idle for longer than it."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, TimeoutError):
            while True:
                async with asyncio.timeout(0.6):
                    head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
                await asyncio.sleep(0.5)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(closing, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        context = CheckContext(url, replace(QUICK, idle=(0.3,)))
        (finding,) = [finding async for finding in findings(context, ["idle-connections"])]
    assert (finding.status, "5 closed by the receiver" in finding.seen) == ("warning", True)
    assert "after 0.3 s" not in finding.seen


async def test_it_takes_what_it_says() -> None:
    """The estimate, made from how fast an ordinary event is answered, is near the truth, for a slow receiver too."""
    names = [*checks()][:8]
    async with serving(always(delay=0.05)) as url:
        context = CheckContext(url, QUICK)
        first = await begin(context)
        expected, begun = estimate(context, names), time.monotonic()
        assert all([finding.status != "failed" async for finding in findings(context, names, first)])
        took = time.monotonic() - begun
    assert 0.5 * took < expected < took + 2


async def test_a_long_check_says_so_beforehand(run: Run) -> None:
    """Without a progress bar one line on stderr says how long it will take; a short one says nothing."""
    async with serving(good) as url:
        only = ("--only", "only-200-or-201", "--json")
        assert not (await run("check", url, *only)).err
        slow = ("--only", "slow-body", "--slow-body", "20", "--timeout", "0.2", "--json")
        assert re.match(r"checking takes about 20\.\d s\n", (await run("check", url, *slow)).err)


async def test_names_and_likelihood_are_in_the_reports(run: Run, tmp_path: Path) -> None:
    """HTML has each check's name, for --only and --skip; a failure says how likely Glartek is to do it."""
    async with serving(says(500, lambda arrival: not arrival.body)) as url:
        files = ("--html", f"{tmp_path}/r.html", "--junit", f"{tmp_path}/r.xml")
        short = (
            "--idle",
            "0.1",
            "--slow-body",
            "0.1",
            "--rate-seconds",
            "0.1",
            "--max-rate",
            "60",
            "--huge",
            "2000000",
        )
        report = await run("check", url, *files, *short)
    html = (tmp_path / "r.html").read_text()
    assert all(name in html for name in checks())
    for told in (report.out, html, (tmp_path / "r.xml").read_text()):
        assert LIKELY["unlikely"] in told.replace("\n", " ")
    assert "white-space: normal" not in html  # numbers do not wrap, on a narrow screen either


async def test_headers_of_the_user_are_on_every_request(run: Run) -> None:
    """`--header` is on ordinary events, on a stream of them, and on kept connections."""
    async with RecordingReceiver() as receiver:
        only = [word for name in ("only-200-or-201", "steady-stream", "keep-alive") for word in ("--only", name)]
        await run("check", receiver.url, *only, "--rate-seconds", "0.1", "--header", "X-Env: test")
        wrong = await run("check", receiver.url, "--header", "X-Env")
    assert {arrival.header("x-env") for arrival in receiver.of()} == {"test"}
    assert (wrong.code, "expected NAME: VALUE" in wrong.err) == (2, True)


def test_the_list_says_how_likely_each_is() -> None:
    """Every check says it."""
    assert {check.likely for check in CHECKS.values()} <= set(LIKELY)
    assert json.dumps(LIKELY)
