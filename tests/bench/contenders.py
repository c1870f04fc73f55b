"""Who is measured, side by side: the limit, the textbook, the kit, the best of elsewhere."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from redis import Redis

from receiver.queue.valkey import embedded
from tests.bench.processes import ROOT, BenchError, Process, cpu_seconds, free_port

TOKEN = "a-token-for-the-bench-0123456789"
STUCK_AFTER = 120.0
"""Seconds without any progress after which a queue that has to drain is given up."""
BULLMQ_FILES = Path(__file__).with_name("bullmq")
_PYTHON = (sys.executable, "-m")


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to receive webhooks: its processes, how its Valkey syncs, and the keys in which its work waits."""

    name: str
    receiver: tuple[str, ...]
    worker: tuple[str, ...] = ()
    fsync: str = "everysec"
    waiting: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1
    """Jobs for each event."""
    workers: int = 1
    receivers: int = 1


BARE = Contender("bare endpoint", (*_PYTHON, "tests.bench.bare"))
TEXTBOOK = Contender(
    "textbook",
    (*_PYTHON, "tests.bench.textbook", "receiver"),
    (*_PYTHON, "tests.bench.textbook", "worker"),
    waiting=("arq:queue",),
)
KIT = Contender(
    "kit, everysec",
    (*_PYTHON, "receiver"),
    (*_PYTHON, "worker"),
    waiting=("glartek:queue", "glartek:leases"),
)
KIT_ALWAYS = Contender("kit, always", KIT.receiver, KIT.worker, fsync="always", waiting=KIT.waiting)
BULLMQ = Contender(
    "Fastify + BullMQ",
    ("node", "server.js"),
    ("node", "worker.js"),
    waiting=("bull:events:wait", "bull:events:active", "bull:events:prioritized"),
)

ONE_HANDLER = {"HANDLERS": "tests.bench.handlers:ONE", "HANDLERS_COUNT": "1"}


class Running:
    """A contender that listens at `url`, with a Valkey of its own that `redis` talks to."""

    def __init__(self, contender: Contender, home: Path, redis_url: str, redis: Redis) -> None:
        self.contender, self.home, self.redis = contender, home, redis
        socket = redis_url.removeprefix("unix://")
        self.env = {
            "REDIS_URL": redis_url,
            "REDIS_SOCKET": socket,
            "WEBHOOK_TOKEN": TOKEN,
            "SPOOL_PATH": str(home / "spool.db"),
            "LOG_LEVEL": "warning",
            "LOG_FORMAT": "json",
            "HANDLERS": "tests.bench.handlers:THREE",
            **contender.env,
        }
        self._redis_pid = int(self.info("server")["process_id"])
        self.receivers: list[Process] = []
        self.urls: list[str] = []
        for number in range(contender.receivers):
            port = free_port()
            log = home / f"receiver-{number}.log"
            self.receivers.append(Process(self._placed(contender.receiver), {**self.env, "PORT": str(port)}, log))
            self.receivers[-1].until_listening(port)
            self.urls.append(f"http://127.0.0.1:{port}/webhooks/glartek/{TOKEN}")
        self.receiver, self.url = self.receivers[0], self.urls[0]

    @contextmanager
    def working(self, count: int = 1, **env: str) -> Iterator[list[Process]]:
        """Worker processes for as long as the block runs."""
        with ExitStack() as stack:
            workers = []
            for number in range(count):
                log = self.home / f"worker-{number}.log"
                workers.append(Process(self._placed(self.contender.worker), {**self.env, **env}, log))
                stack.callback(workers[-1].stop)
            yield workers

    def waiting(self) -> int:
        """Jobs that are not finished."""
        return sum(self._size(key) for key in self.contender.waiting)

    def until_left(self, jobs: float, workers: Sequence[Process] = ()) -> tuple[float, float, int]:
        """(time, CPU of the workers, jobs) once no more than so many jobs are left."""
        progress, least = time.monotonic(), self.waiting()
        while (left := self.waiting()) > jobs:
            now = time.monotonic()
            if left < least:
                progress, least = now, left
            if now - progress > STUCK_AFTER:
                raise BenchError(f"{self.contender.name}: {left} jobs left, and none finished in {STUCK_AFTER:g} s")
            time.sleep(0.01)
        return time.monotonic(), sum(worker.cpu() for worker in workers), left

    def until_idle(self) -> None:
        """Return when every job is finished."""
        self.until_left(0)

    def info(self, section: str) -> dict[str, Any]:
        """A section of the Valkey's INFO."""
        return cast(dict[str, Any], self.redis.info(section))

    def redis_cpu(self) -> float:
        """Seconds of CPU that its Valkey has used."""
        return cpu_seconds(self._redis_pid)

    def count(self, name: str) -> int:
        """One of the kit's own counts."""
        return int(cast(bytes | None, self.redis.hget("glartek:counts", name)) or 0)

    def forget(self) -> None:
        """Empty the Valkey: every sample begins with nothing."""
        self.redis.flushall()

    def _size(self, key: str) -> int:
        command = {b"zset": "ZCARD", b"list": "LLEN"}.get(cast(bytes, self.redis.type(key)))
        return cast(int, self.redis.execute_command(command, key)) if command else 0

    def _placed(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """The command with the path of its script, for those that are not Python modules."""
        return (command[0], str(BULLMQ_FILES / command[1])) if command[0] == "node" else command


@contextmanager
def running(contender: Contender, directory: Path) -> Iterator[Running]:
    """The contender's Valkey and receiver for as long as the block runs."""
    home = Path(tempfile.mkdtemp(dir=directory))
    # no rewrite of the append-only file in mid-measurement
    options = ("--appendfsync", contender.fsync, "--auto-aof-rewrite-percentage", "0")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        redis_url = stack.enter_context(embedded(home / "valkey", *options))
        redis = stack.enter_context(Redis.from_url(redis_url))
        one = Running(contender, home, redis_url, redis)
        for receiver in one.receivers:
            stack.callback(receiver.stop)
        yield one


@dataclass(frozen=True, slots=True)
class Python:
    """Another interpreter, which has the kit's dependencies: its absolute path, and its version, such as `3.14.0`."""

    path: str
    version: str


def with_python(contender: Contender, python: Python) -> Contender:
    """The contender run by another interpreter."""
    by = (python.path, "-m")
    name = named_with(contender.name, python.version)
    return replace(contender, name=name, receiver=(*by, "receiver"), worker=(*by, "worker"))


def named_with(name: str, version: str) -> str:
    """The name of a contender, or of its series, with another Python of this version."""
    return f"{name}, Python {version}"


def python_at(interpreter: str) -> Python:
    """The interpreter at a path or of a name on PATH. Raises `BenchError` when it cannot run the kit."""
    if not (found := shutil.which(interpreter)):
        raise BenchError(f"--python {interpreter}: there is no such program")
    path = str(Path(found).absolute())  # a process of the bench starts in another folder; a venv's link stays a link
    command = [path, "-c", "import platform, receiver, worker; print(platform.python_version())"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BenchError(f"--python {interpreter}: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BenchError(
            f"--python {interpreter}: it cannot run the kit ({said}); expected one with the packages of "
            "requirements.lock, such as make VENV=.venv-new PYTHON=python3.14 .venv-new/.installed makes"
        )
    return Python(path, done.stdout.strip())


def why_not_bullmq() -> str:
    """Why Fastify and BullMQ cannot be measured here; "" when they can. Installs their packages at the first time."""
    if not (shutil.which("node") and shutil.which("npm")):
        return "no node or npm here"
    if not (BULLMQ_FILES / "node_modules").exists():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
        done = subprocess.run(command, cwd=BULLMQ_FILES, env=dict(os.environ), capture_output=True, check=False)
        if done.returncode != 0:
            return f"npm ci failed in {BULLMQ_FILES.name}/: {' '.join(done.stderr.decode().split())[:300]}"
    return ""
