"""Everything on one machine, for as long as a block runs: Valkey, receiver, worker, console, and stand-ins.

What the settings do not name is brought along: Valkey without REDIS_URL, a token without WEBHOOK_TOKEN, and, while
examples/ is there, the sink for Teams and the external system without their URLs.
"""

import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import httpx2
from redis import Redis
from redis.exceptions import RedisError

from receiver import running
from receiver.environment import SettingsError
from receiver.port.listening import base_url
from receiver.queue.keys import Keys
from receiver.queue.valkey import embedded_server
from receiver.settings import ReceiverSettings
from receiver.variables import variables
from worker.console.settings import ConsoleSettings
from worker.processes import COMMANDS, Running, spawn
from worker.settings import WorkerSettings

_SINK = "examples.sink"
_STAND_INS = {
    "TEAMS_WEBHOOK_URL": "/workflows/stand-in/triggers/manual/paths/invoke?sig=stand-in",
    "EXTERNAL_URL": "",
}


@contextmanager
def everything(
    data: Path, settings: Mapping[str, str], output: IO[bytes] | None = None, names: Iterable[str] = COMMANDS
) -> Iterator[Running]:
    """The whole kit, ready for deliveries, for as long as the block runs; its processes write to `output` or stderr.

    `names` are those of `COMMANDS` that are started.

    Raises `SettingsError` or `ServerError` with one line for what prevents it.
    """
    with ExitStack() as stack:
        data.mkdir(parents=True, exist_ok=True)
        server = None if "REDIS_URL" in settings else stack.enter_context(embedded_server(data / "valkey"))
        environment = {
            "SPOOL_PATH": str(data / "spool.db"),
            "AUDIT_DATABASE_URL": f"sqlite:///{data}/audit.db",
            **settings,
        }
        if server is not None:
            environment["REDIS_URL"] = server.url
        environment.setdefault("WEBHOOK_TOKEN", _kept_token(data))
        stand_ins = [name for name in _STAND_INS if name not in settings and is_here(_SINK)]
        sink = stack.enter_context(_sink(environment)) if stand_ins else None
        environment |= {name: f"{sink}{_STAND_INS[name]}" for name in stand_ins}
        host, port = environment.get("HOST", "127.0.0.1"), environment.get("PORT", "8000")
        console = environment.get("CONSOLE_HOST", "127.0.0.1"), environment.get("CONSOLE_PORT", "8001")
        kit = Running(
            base=base_url(host, port),
            console=base_url(*console),
            token=environment["WEBHOOK_TOKEN"].split(",")[0].strip(),
            redis_url=environment["REDIS_URL"],
            environment=environment,
            sink=sink,
            stand_ins=stand_ins,
            server=server,
            output=output,
        )
        stack.callback(kit.stop)
        for name in names:
            kit.start(name)
        _wait_until_ready(kit)
        if told := _told_by_worker(kit):
            kit.stand_ins = [name for name in stand_ins if name in told["settings"]]
        stack.enter_context(running.announced(data, {name: environment[name] for name in _told(environment)}))
        yield kit


def _told(environment: Mapping[str, str]) -> list[str]:
    """The settings that commands need to find all this."""
    names = {name for name, _, _ in variables(ReceiverSettings, WorkerSettings, ConsoleSettings)}
    return [name for name in environment if name in {*names, *_STAND_INS, "AUDIT_DATABASE_URL"}]


def _wait_until_ready(running: Running) -> None:
    deadline = time.monotonic() + 30
    looks = {
        "receiver": lambda: _answers(_health(running)),
        "worker": lambda: _told_by_worker(running) is not None,
        "console": lambda: _answers(running.console),
    }
    while not all(looks[name]() for name in running.processes):
        if dead := running.dead():
            name, code = next(iter(dead.items()))
            raise SettingsError(f"{name}: ended with exit code {code}; the lines above say why")
        if time.monotonic() > deadline:
            raise SettingsError(f"{', '.join(running.processes)}: not all are ready after 30 s; their log says why")
        time.sleep(0.05)


def _health(running: Running) -> str:
    """Where the receiver answers /healthz."""
    environment = running.environment
    if port := environment.get("HEALTH_PORT"):
        return base_url(environment.get("HEALTH_HOST", "127.0.0.1"), port)
    return running.base


def _answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/healthz", timeout=1, trust_env=False).is_success
    except (httpx2.HTTPError, httpx2.InvalidURL):  # the process itself reports a wrong PORT
        return False


def _told_by_worker(running: Running) -> dict[str, Any] | None:
    """What the worker says of itself; None while it is not up, and where none is started."""
    if (worker := running.processes.get("worker")) is None:
        return None
    key = Keys(running.environment.get("KEY_PREFIX", "glartek:")).worker(f"{socket.gethostname()}:{worker.pid}")
    with suppress(RedisError), Redis.from_url(running.redis_url) as redis:
        told: bytes | None = redis.get(key)
        return json.loads(told) if told else None
    return None


def _kept_token(data: Path) -> str:
    """The token of this machine: made once, readable by this user only."""
    path = data / "token"
    if not path.exists():
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    return path.read_text(encoding="utf-8").strip()


def is_here(module: str) -> bool:
    """Whether a module of examples/ is here: all of it can be deleted."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is its package
        return False


@contextmanager
def _sink(environment: Mapping[str, str]) -> Iterator[str]:
    process = spawn(("-m", _SINK, "--port", "0"), environment, subprocess.PIPE)
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        with process.stdout as lines:
            yield lines.readline().decode().rpartition(" ")[2].strip()
    finally:
        process.terminate()
        process.wait()
