"""A log that cannot be written: the receiver starts, answers and stores all the same, and says what is missing."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import ROOT, TOKEN, Process, wait_until
from tests.forks import Forks
from tests.receiver.conftest import Receiver, event, request

SAYING = """
import asyncio, json, logging, sys, threading, warnings
import structlog
from receiver import logs

logs.configure("json", "info", "test")
log = structlog.get_logger()

class Unprintable:
    def __repr__(self):
        raise RuntimeError("secret-words")

log.info("plain", word="\\ud83d é")
log.info("unprintable", what=Unprintable())
logging.getLogger("somebody").warning("theirs %s", "fits")
logging.getLogger("somebody").warning("theirs %d", "does not fit")
warnings.warn("a warning", stacklevel=1)
print("printed")

async def forgotten():
    async def fails():
        raise ValueError("nobody asked")
    asyncio.create_task(fails())
    await asyncio.sleep(0)

asyncio.run(forgotten())
threading.Thread(target=lambda: log.info("from a thread")).start()

class Ends:
    def __del__(self):
        raise ValueError("secret-words")

Ends()
thread = threading.Thread(target=lambda: int("secret-words"), name="reader")
thread.start()
thread.join()
try:
    int("secret-words")
except ValueError as error:
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\\n", exc_info=error)
log.info("usual", text="a", number=1, share=0.5, level="mine", **{"a name": 2})
log.info("unusual", ok=True, none=None, parts=["a"], share=float("inf"))
"""
"""What a process may say, in every way that there is."""
FAILING = SAYING + 'json.loads("secret-words")\n'
"""The same by a process that an error ends."""


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe of 4 KB that nobody reads."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 4096)
    yield path
    os.close(descriptor)


StartLogging = Callable[..., Process]


@pytest.fixture
def start_logging(forks: Forks) -> Iterator[StartLogging]:
    """Start `python <arguments>` with its output where the test says."""
    started: list[Process] = []

    def start_one(log: Path, *arguments: str, **env: str) -> Process:
        started.append(Process(*arguments, env=env, log=log, forks=forks))
        return started[-1]

    yield start_one
    for process in started:
        process.stop()


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A file on a disk that is full."""
    path = tmp_path / "full.log"
    path.symlink_to("/dev/full")
    return path


def start_receiver(start_logging: StartLogging, log: Path, redis_url: str) -> Receiver:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = {"REDIS_URL": redis_url, "WEBHOOK_TOKEN": TOKEN, "PORT": str(port)}
    process = start_logging(log, "-m", "receiver", **settings, SPOOL_PATH=str(log.parent / "spool.db"))
    receiver = Receiver(process, port)
    wait_until(lambda: _listens(receiver), explain=lambda: f"ended: {process.has_ended()}")
    return receiver


def _listens(receiver: Receiver) -> bool:
    try:
        receiver.connect().socket.close()
    except OSError:
        return False
    return True


@pytest.fixture(params=["full", "pipe"])
def trouble(request: pytest.FixtureRequest) -> Path:
    """Both of them."""
    path: Path = request.getfixturevalue(request.param)
    return path


def test_a_log_that_cannot_be_written_costs_no_delivery(start_logging: StartLogging, trouble: Path) -> None:
    """On a full disk and in a pipe that nobody reads, and with Redis away so that there is much to say."""
    receiver = start_receiver(start_logging, trouble, "redis://127.0.0.1:1")
    with receiver.connect() as sender:
        for number in range(100):
            assert receiver.post(path="/").status == 404  # which is a line
            sender.send(request(event(f"e{number}")))
            assert sender.answer().status == 200
    receiver.process.signal(signal.SIGTERM)
    assert receiver.process.wait() == 0


def say(code: str = SAYING, *, stderr: int, wait: float = 20) -> "subprocess.CompletedProcess[bytes]":
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=stderr, timeout=wait, check=False)


def test_whatever_is_said_is_a_line_of_json() -> None:
    """Of the kit, of libraries, warnings, forgotten tasks, threads; what cannot be shown says so and raises nothing.

    An error nobody expected is told by its type and its place: its text may hold a payload.
    """
    done = say(FAILING, stderr=subprocess.PIPE)
    assert done.returncode == 1, done.stderr
    assert done.stdout == b"printed\n"
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    told = [line["event"] for line in lines]
    assert told[0] == "plain"
    assert lines[0]["word"] == r"\ud83d é"
    not_shown = [line["line"] for line in lines if line["event"] == "a log line could not be shown"]
    assert not_shown == ["unprintable", "somebody"]
    assert {"theirs fits", "from a thread"} <= set(told)
    assert any("a warning" in event for event in told)
    errors = {line["event"]: line["exception"].splitlines() for line in lines if "exception" in line}
    assert errors["Task exception was never retrieved"] == ["  <string>:22 in fails", "ValueError"]
    assert errors["an error was ignored"] == ["  <string>:31 in __del__", "ValueError"]
    assert errors["Exception in ASGI application"] == ["  <string>:38 in <module>", "ValueError"]
    assert errors["a thread ended by an error"][-1] == "ValueError"
    assert errors["the process ended by an error"][-1] == "JSONDecodeError"
    assert all(line["process"] == "test" for line in lines if line["event"] != "a log line could not be shown")
    assert b"secret-words" not in done.stderr
    assert b"nobody asked" not in done.stderr


def test_a_line_is_the_same_whether_its_values_are_usual_or_not() -> None:
    """The fields that every line has come first, then the line's own in their order, each of its JSON type."""
    lines = [json.loads(line) for line in say(stderr=subprocess.PIPE).stderr.splitlines()]
    usual = next(line for line in lines if line["event"] == "usual")
    assert [*usual] == ["timestamp", "level", "process", "event", "text", "number", "share", "a name"]
    assert [*usual.values()][1:] == ["info", "test", "usual", "a", 1, 0.5, 2]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", usual["timestamp"])
    assert abs(datetime.fromisoformat(usual["timestamp"]).timestamp() - time.time()) < 60
    unusual = next(line for line in lines if line["event"] == "unusual")
    assert [*unusual] == ["timestamp", "level", "process", "event", "ok", "none", "parts", "share"]
    assert [*unusual.values()][4:] == [True, None, ["a"], float("inf")]


def test_a_process_without_a_stderr_says_nothing_and_does_its_work() -> None:
    """Started with both closed, as some supervisors do."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", 'exec "$0" -c "$1" >&- 2>&-', sys.executable, SAYING]
    assert subprocess.run(command, env=env, timeout=20, check=False).returncode == 0


def test_a_process_ends_in_time_whoever_reads_what_it_said() -> None:
    """A second later at most where nobody reads, and not with a traceback."""
    for descriptor in (os.open("/dev/full", os.O_WRONLY), os.pipe()[1]):
        started = time.monotonic()
        assert say(stderr=descriptor).returncode == 0
        assert time.monotonic() - started < 10
        os.close(descriptor)


def test_a_mistake_is_exit_code_2_whoever_reads_of_it(full: Path, start_logging: StartLogging) -> None:
    """On a full disk, too."""
    assert start_logging(full, "-m", "receiver", REDIS_URL="http://x").wait() == 2
    assert start_logging(full, "-m", "worker", LEASE="soon").wait() == 2
