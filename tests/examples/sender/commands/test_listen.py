import asyncio
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fcntl import ioctl
from pathlib import Path

import pytest

from examples.sender.commands.listen import Listening, Seen
from examples.sender.commands.live import Live
from examples.sender.http import recordings, wire
from examples.sender.http.arrivals import Arrival
from examples.sender.http.recording import Answer, RecordingReceiver
from examples.sender.play.replay import Again
from tests.conftest import ROOT
from tests.examples.sender.conftest import Run, StartSender

pytestmark = pytest.mark.anyio
EVENT = b'{ "type": "Action Created", "id": "e1", "note": "\xc3\xa9" }\n'
HEADERS = [("X-Odd-Case", "a"), ("content-type", "application/json"), ("x-odd-case", "b")]


async def url_of(process: asyncio.subprocess.Process) -> str:
    """The URL that it says it listens at."""
    assert process.stderr
    line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
    return line.split()[2].rstrip(";,")


async def test_what_arrives_is_a_line_each_and_is_kept(start_sender: StartSender, tmp_path: Path) -> None:
    """Without a terminal: time, type, id, answer; saved with stand-ins; Ctrl-C ends it with exit code 0."""
    started = await start_sender("listen", "--port", "0", "--answer", "201", "--save", f"{tmp_path}/in", "--redact")
    url = await url_of(started.process)
    reply = await wire.post(url, EVENT, HEADERS)
    await wire.post(url, b'{"type": "x\\u001b[2J"}', {})
    assert started.process.stdout
    lines = [(await asyncio.wait_for(started.process.stdout.readline(), 10)).decode() for _ in range(2)]
    started.process.send_signal(signal.SIGINT)
    finished = await started.finished()
    assert (reply.status, finished.code) == (201, 0)
    assert re.match(r"\d\d:\d\d:\d\d  action\.created  e1  201  \d+ ms\n", lines[0])
    assert "\x1b" not in lines[1]  # what arrived cannot move the reader's cursor
    assert f"2 requests, kept in {tmp_path}/in" in finished.err
    first, _ = recordings.read(tmp_path / "in")
    assert json.loads(first.body)["id"] == "e1"
    assert "é" not in first.body.decode()


async def test_requests_are_sent_on_byte_for_byte_and_answered_alike(
    start_sender: StartSender, recording_receiver: RecordingReceiver
) -> None:
    """Method, headers in their order, raw body; the answer goes back, and is in the JSON lines with its body."""
    async with RecordingReceiver([Answer(503, {"retry-after": "7"}, b"busy")]) as target:
        started = await start_sender(
            "listen", "--port", "0", "--forward-to", target.url, "--header", "X-New: 1", "--json"
        )
        url = await url_of(started.process)
        refused = await wire.post(url, EVENT, HEADERS)
        taken = await wire.post(url, b"\x00\xff", {}, method="PUT")
        first, second = target.of()
    gone = await wire.post(url, b"{}", {})
    started.process.send_signal(signal.SIGTERM)
    finished = await started.finished()
    told = [json.loads(line) for line in finished.out.splitlines()]
    assert (refused.status, refused.headers["retry-after"], refused.body) == (503, "7", b"busy")
    assert (taken.status, gone.status) == (200, 502)
    assert (first.body, second.body, second.method) == (EVENT, b"\x00\xff", "PUT")
    sent_on = [header for header in first.sent_headers if header[0].lower() not in {"host", "content-length"}]
    assert sent_on == [*HEADERS, ("x-new", "1")]
    assert [one["forwarded"]["status"] for one in told] == [503, 200, None]
    assert told[0]["forwarded"]["body"] == "busy"
    assert "cannot connect" in told[2]["forwarded"]["error"]
    assert not recording_receiver.arrivals


async def test_what_a_sender_gave_up_on_is_still_sent_on(recording_receiver: RecordingReceiver) -> None:
    """The receiver's answer is seen although nobody waits for it any more."""
    async with RecordingReceiver([Answer(delay=0.3)]) as target:
        listening = Listening(Again(target.url), 200)
        async with RecordingReceiver(listening.answer, on_end=listening.ended) as door:
            await wire.post(door.url, EVENT, {}, 0.1)
            async with asyncio.timeout(5):
                while not (listening.seen and listening.seen[0].reply):
                    listening.changed.clear()
                    await listening.changed.wait()
            assert (listening.seen[0].status, listening.seen[0].arrival.abandoned) == ("200", True)
    assert not recording_receiver.arrivals


@dataclass
class Terminal:
    """A terminal with a command in it: keys go in, the screen comes out."""

    master: int
    process: asyncio.subprocess.Process
    screen: str = ""

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    async def shows(self, condition: Callable[[str], bool]) -> str:
        """What was drawn since the last call, once it is as expected."""
        drawn, self.screen = self.screen, ""
        async with asyncio.timeout(10):
            while not condition(drawn):
                await asyncio.sleep(0.02)
                drawn, self.screen = drawn + self.screen, ""
        return drawn


@asynccontextmanager
async def terminal(*arguments: str) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.sender", *arguments),
        stdin=slave, stdout=slave, stderr=asyncio.subprocess.PIPE, cwd=ROOT, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    before = termios.tcgetattr(slave)
    shown = Terminal(master, process)

    def read() -> None:
        shown.screen += os.read(master, 65536).decode("utf-8", "replace")

    asyncio.get_running_loop().add_reader(master, read)
    try:
        yield shown
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert termios.tcgetattr(slave) == before  # the terminal is as it was
    finally:
        asyncio.get_running_loop().remove_reader(master)
        if process.returncode is None:
            process.kill()
        os.close(master)
        os.close(slave)


async def test_the_live_list_on_a_real_terminal(recording_receiver: RecordingReceiver) -> None:
    """Rows come as requests do; keys choose, open, send again, filter and quit; a hostile body stays harmless."""
    async with terminal("listen", "--port", "0", "--forward-to", recording_receiver.url) as shown:
        url = await url_of(shown.process)
        await wire.post(url, EVENT, HEADERS)
        await wire.post(url, b'{"type": "work_order.created", "id": "w1"}', {"x-evil": "\x9b2Jevil"})
        await shown.shows(lambda screen: "work_order.created" in screen and "action.created" in screen)
        shown.press("k\r")
        opened = await shown.shows(lambda screen: "answered 200" in screen)
        assert "X-Odd-Case: a" in opened
        shown.press("\x1b")
        await shown.shows(lambda screen: "q quit" in screen)
        shown.press("r")
        await shown.shows(lambda screen: "sent 1 again" in screen and "↻" in screen)
        await recording_receiver.until(lambda: len(recording_receiver.of()) == 3, "3")
        shown.press("fw1\r")
        filtered = await shown.shows(lambda screen: "filter: w1" in screen)
        assert "action.created" not in filtered.rpartition("filter: w1")[0].rpartition("STATUS")[2]
        shown.press("\r")
        opened = await shown.shows(lambda screen: "evil" in screen)
        assert "\x9b" not in opened
        shown.press("qq")
    assert [arrival.body for arrival in recording_receiver.of()][::2] == [EVENT, EVENT]


def listed(*types: str) -> tuple[Live, Listening]:
    """A list of such events, as it stands in memory."""
    listening = Listening(None, 200)
    for number, kind in enumerate(types, 1):
        body = json.dumps({"type": kind, "id": f"e{number}"}).encode()
        arrival = Arrival(number, number, 0.0, datetime.now(UTC), body=body, complete=True)
        arrival.answer, arrival.ended = Answer(200 if number % 2 else 500), 0.01
        listening.seen.append(Seen(arrival))
    return Live(listening), listening


def test_the_newest_is_chosen_until_somebody_chooses_another() -> None:
    """J and k stop at the ends; g and G go there; at the end the list follows what arrives."""
    live, listening = listed("a", "b", "c")
    live.press("G")
    assert live.chosen == 2
    for key, chosen in (("j", 2), ("k", 1), ("g", 0), ("k", 0)):
        live.press(key)
        assert live.chosen == chosen
    listening.seen.append(listening.seen[0])
    live.press("x")
    assert live.chosen == 0
    for key in "jjj":
        live.press(key)
    listening.seen.append(listening.seen[0])
    live.press("x")
    assert live.chosen == 4


def test_the_filter_takes_type_id_and_status() -> None:
    """Typed keys are text, back removes one, Enter keeps it and Escape drops it."""
    live, _ = listed("action.created", "action.solved", "work_order.created")
    for typed, rows in (("f500\n", 1), ("fCREATED\n", 2), ("fe3\n", 1), ("fqrjk\n", 0)):
        for key in typed:
            live.press("enter" if key == "\n" else key)
        assert len(live.rows) == rows, typed
    for key in ("f", "x", "back", "5", "enter"):
        live.press(key)
    assert live.filter == "5"
    live.press("r")
    assert live.said == "nothing to send it to: --forward-to URL is missing"
    live.press("escape")
    assert (live.filter, live.is_over) == ("", False)
    live.press("q")
    assert live.is_over


def test_an_empty_list_takes_any_key() -> None:
    """Nothing to choose, open or send again."""
    live, _ = listed()
    for key in ("j", "k", "g", "G", "enter", "r", "f", "x", "enter", "escape"):
        live.press(key)
    assert (live.chosen, live.is_open) == (0, False)
    assert live.drawn("http://127.0.0.1/", 24)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--forward-to", "nowhere"), "expected an http:// or https:// URL"),
        (("--redact",), "expected --save FOLDER too"),
        (("--save", "/dev/null/x"), "cannot be written to"),
        (("--tls-cert", "x"), "both --tls-cert and --tls-key"),
    ],
)
async def test_wrong_usage_is_one_line(run: Run, arguments: tuple[str, ...], expected: str) -> None:
    """What is wrong, and what was expected; exit code 2."""
    finished = await run("listen", "--port", "0", *arguments)
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert expected in finished.err


async def test_what_cannot_be_kept_is_answered_all_the_same(start_sender: StartSender, tmp_path: Path) -> None:
    """A disk that is full, or a folder that is gone, is said on stderr."""
    started = await start_sender("listen", "--port", "0", "--save", f"{tmp_path}/in")
    url = await url_of(started.process)
    (tmp_path / "in").rmdir()
    reply = await wire.post(url, EVENT, {})
    started.process.send_signal(signal.SIGINT)
    finished = await started.finished()
    assert (reply.status, finished.code) == (200, 0)
    assert "cannot be written: No such file or directory" in finished.err
