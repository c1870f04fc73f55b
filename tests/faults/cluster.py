"""The processes of a run: Valkey, two receivers and two workers, each restarted whenever it ends."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from redis.asyncio import Redis

from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.valkey import server_binary, with_parent
from tests.faults import effects

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-the-faults-0123456789"
AUDIT_LOG = "audit.db"
STOPS_WITHIN = 20.0
"""Seconds in which a process has to end after SIGTERM."""


@dataclass(slots=True)
class Kill:
    """A signal from the harness that ends a process. Unix seconds; `exited` is infinite until it has ended."""

    signal: signal.Signals
    sent: float
    exited: float = float("inf")


@dataclass
class Member:
    """One process of the cluster, with all its restarts; `ready` tells whether it can be used.

    A life is the time from one start to the next end.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    ready: Callable[[], Awaitable[bool]]
    kills: dict[str, Kill] = field(default_factory=dict)
    ended_by_itself: list[str] = field(default_factory=list)
    lives: int = 0
    _down: float = 0.0
    _process: asyncio.subprocess.Process | None = None

    @property
    def life(self) -> str:
        """The name of the current or last life."""
        return f"{self.name}.{self.lives}"

    async def live(self) -> None:
        """Run the process, and restart it after each end, until cancelled, as a service manager does."""
        try:
            while True:
                await self._live_once()
                await asyncio.sleep(self._down)
                self._down = 0.3
        finally:
            await self._end()

    async def _live_once(self) -> None:
        self.lives += 1
        env = {**self.env, effects.PROCESS: self.life}
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *self.command, env=env, cwd=self.log.parent, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
                **with_parent(),
            )  # fmt: skip
        code = await self._process.wait()
        if kill := self.kills.get(self.life):
            kill.exited = time.time()
        else:
            self.ended_by_itself.append(f"{self.life} with {code}")

    async def strike(self, number: signal.Signals, down: float) -> None:
        """End the process; it is restarted `down` seconds later. Returns when it has ended."""
        process, self._down = self._process, down
        if process is None or process.returncode is not None:
            return
        kill = self.kills.setdefault(self.life, Kill(number, time.time()))
        process.send_signal(number)
        try:
            async with asyncio.timeout(STOPS_WITHIN):
                await process.wait()
        except TimeoutError:
            self.ended_by_itself.append(f"{self.life} had to be killed: {number.name} did not end it")
            kill.signal = signal.SIGKILL
            process.kill()

    def freeze(self, *, frozen: bool) -> None:
        """Stop the process with SIGSTOP, or continue it."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    async def until_ready(self, within: float = 30.0) -> None:
        """Wait until the process can be used; raises TimeoutError."""
        async with asyncio.timeout(within):
            while not await self.ready():  # noqa: ASYNC110 - another process gives no event to wait for
                await asyncio.sleep(0.05)

    async def _end(self) -> None:
        if self._process and self._process.returncode is None:
            self.freeze(frozen=False)
            self._process.kill()
            await self._process.wait()


@dataclass(frozen=True)
class Kind:
    """The kit under test: the Python arguments that start a receiver and a worker, and their settings."""

    receiver: Sequence[str]
    worker: Sequence[str]
    env: Mapping[str, str]
    shared_spool: bool = False


@dataclass
class Cluster:
    """All members, and direct connections to them that bypass the proxy."""

    valkey: Member
    sink: Member
    receivers: list[Member]
    workers: list[Member]
    urls: list[str]
    redis: Redis
    http: httpx2.AsyncClient
    directory: Path
    spools: list[Path]
    proxy_port: int
    link_port: int
    valkey_port: int
    sink_url: str

    @property
    def members(self) -> list[Member]:
        return [self.valkey, self.sink, *self.receivers, *self.workers]

    async def health(self, index: int) -> dict[str, object]:
        """A receiver's health report; empty if it does not answer."""
        with suppress(httpx2.HTTPError, ValueError):
            answer = await self.http.get(f"{self.urls[index]}/healthz")
            found: dict[str, object] = answer.json() if answer.status_code == httpx2.codes.OK else {}
            return found
        return {}


@asynccontextmanager
async def running(kind: Kind, directory: Path) -> AsyncIterator[Cluster]:
    """A cluster of this kind with its files in `directory`; all its processes have ended when the block ends."""
    cluster = _cluster(kind, directory)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cluster.http.aclose)
        stack.push_async_callback(cluster.redis.aclose)
        tasks = [asyncio.create_task(cluster.valkey.live())]
        stack.push_async_callback(_stop, tasks)
        await cluster.valkey.until_ready()
        tasks += [asyncio.create_task(member.live()) for member in cluster.members[1:]]
        yield cluster


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in reversed(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _cluster(kind: Kind, directory: Path) -> Cluster:
    valkey_port, proxy_port, link_port, sink_port, *ports = _free_ports(6)
    spools = [_spool(kind, directory, index) for index in range(len(ports))]
    sink_url = f"http://127.0.0.1:{sink_port}"
    redis = Redis(port=valkey_port, socket_timeout=2)
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": f"redis://127.0.0.1:{proxy_port}/0",
        "WEBHOOK_TOKEN": TOKEN,
        "EXTERNAL_URL": sink_url,
        "AUDIT_DATABASE_URL": f"sqlite:///{directory / AUDIT_LOG}",
        effects.DIRECTORY: str(directory),
        **kind.env,
    }

    async def valkey_is_ready() -> bool:
        with suppress(*REDIS_ERRORS):
            return bool(await redis.ping())
        return False

    def member(name: str, arguments: Sequence[str], **more: str) -> Member:
        return Member(name, [sys.executable, *arguments], env | more, directory / f"{name}.log", _at_once)

    cluster = Cluster(
        valkey=Member("valkey", _valkey(valkey_port, directory), {}, directory / "valkey.log", valkey_is_ready),
        sink=member("sink", ["-m", "examples.sink", "--port", str(sink_port)]),
        receivers=[
            member(
                f"receiver-{i}",
                kind.receiver,
                PORT=str(port),
                SPOOL_PATH=str(spools[i]),
                REDIS_URL=f"redis://127.0.0.1:{link_port}/0",
            )
            for i, port in enumerate(ports)
        ],
        workers=[member(f"worker-{i}", kind.worker) for i in range(2)],
        urls=[f"http://127.0.0.1:{port}" for port in ports],
        redis=redis,
        http=httpx2.AsyncClient(timeout=2),
        directory=directory,
        spools=spools,
        proxy_port=proxy_port,
        link_port=link_port,
        valkey_port=valkey_port,
        sink_url=sink_url,
    )
    cluster.sink.ready = lambda: _is_there(cluster.http, f"{sink_url}/recorded/external")
    for index, receiver in enumerate(cluster.receivers):
        receiver.ready = lambda index=index: _answers(cluster, index)  # type: ignore[misc]
    return cluster


def _spool(kind: Kind, directory: Path, index: int) -> Path:
    return directory / ("spool.db" if kind.shared_spool else f"spool-{index}.db")


def _valkey(port: int, directory: Path) -> list[str]:
    return [
        *(server_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--daemonize", "no"),
        *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"),
    ]


async def _is_there(http: httpx2.AsyncClient, url: str) -> bool:
    with suppress(httpx2.HTTPError):
        return (await http.get(url)).is_success
    return False


async def _at_once() -> bool:
    return True


async def _answers(cluster: Cluster, index: int) -> bool:
    return bool(await cluster.health(index))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [taken.getsockname()[1] for taken in sockets]
