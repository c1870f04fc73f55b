"""The receiver as a process on a real socket, and what a sender sees of it."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from arq.connections import ArqRedis

from receiver.environment import load
from receiver.queue.jobs import unpack
from receiver.queue.keys import Keys
from receiver.settings import ReceiverSettings
from tests.conftest import TOKEN, Process, Start
from tests.forks import Forks

KEYS = Keys("glartek:")
PATH = f"/webhooks/glartek/{TOKEN}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back on the wire: headers by lower-case name, and whether the connection was closed after it."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


class Sender:
    """A connection that sends the bytes it is given, right or wrong, and reads one answer at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def answer(self) -> Answer:
        started = time.monotonic()
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self._buffer) < length:
            self._more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Answer(int(first.split(" ")[1]), headers, body, time.monotonic() - started)

    def is_closed(self) -> bool:
        """Whether the other side ended the connection, with nothing more to say."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _more(self) -> None:
        received = self.socket.recv(65536)
        assert received, f"closed after {self._buffer!r}"
        self._buffer += received


def request(body: bytes = b"", path: str = PATH, method: str = "POST", **headers: str) -> bytes:
    """One request's bytes; a header given as "" is left out."""
    lines = {"host": "kit", "content-length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def event(event_id: str, **more: object) -> bytes:
    return json.dumps({"id": event_id, "type": "action.created", **more}).encode()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver that is running."""

    process: Process
    port: int

    def connect(self) -> Sender:
        return Sender(self.port)

    def post(self, body: bytes = b"", **options: str) -> Answer:
        with self.connect() as sender:
            sender.send(request(body, **options))
            return sender.answer()


def listening(process: Process) -> Receiver:
    """The receiver in a process, once it listens."""
    said = process.wait_for("receiver listening")
    port = re.search(r'"address": "[^"]*:(\d+)"', said)
    assert port, said
    return Receiver(process, int(port[1]))


StartReceiver = Callable[..., Receiver]


@pytest.fixture
def start_receiver(start: Start, valkey_url: str, tmp_path: Path) -> StartReceiver:
    """Start a receiver on a port of its own; settings as keyword arguments."""

    def start_one(**settings: str) -> Receiver:
        spool = str(tmp_path / "spool.db")
        settings = {"REDIS_URL": valkey_url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "SPOOL_PATH": spool} | settings
        return listening(start("-m", "receiver", **settings))

    return start_one


@pytest.fixture(scope="module")
def receiver(valkey_url: str, tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Iterator[Receiver]:
    """One receiver for most of these tests: what one of them does to it must not hurt the next."""
    folder = tmp_path_factory.mktemp("receiver")
    settings = {"REDIS_URL": valkey_url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "SPOOL_PATH": str(folder / "spool.db")}
    settings |= {"BODY_TIMEOUT": "0.5", "LOG_LEVEL": "debug"}
    process = Process("-m", "receiver", env=settings, log=folder / "receiver.log", forks=forks)
    try:
        yield listening(process)
    finally:
        process.stop()
    assert "Traceback" not in process.output, process.output
    assert TOKEN not in process.output, process.output


@pytest.fixture(autouse=True)
def no_traceback(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a sender does, the log holds no traceback and no token."""
    receiver = request.getfixturevalue("receiver") if "receiver" in request.fixturenames else None
    yield
    if receiver is not None:
        assert "Traceback" not in receiver.process.output, receiver.process.output
        assert TOKEN not in receiver.process.output, receiver.process.output


async def bodies(redis: ArqRedis) -> list[bytes]:
    """What is on the queue, in order."""
    jobs = [await redis.get(b"arq:job:" + job_id) for job_id in await redis.zrange(KEYS.queue, 0, -1)]
    return [unpack(job)["a"][0]["body"] for job in jobs]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ReceiverSettings:
    """Settings for a receiver in this process: its spool stores, because there is no Redis."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("WEBHOOK_TOKEN", TOKEN)
    monkeypatch.setenv("SPOOL_PATH", str(tmp_path / "spool.db"))
    return load(ReceiverSettings)
