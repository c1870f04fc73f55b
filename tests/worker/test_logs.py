"""A log that cannot be written: the worker handles events all the same, and says how much of its log is missing."""

import fcntl
import json
import os
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Process, until, wait_until
from tests.forks import Forks
from tests.worker.conftest import KEYS, Rig

HANDLERS = """
async def act(event, ctx):
    for _ in range(event.payload["lines"]):
        ctx.log.info("noise", text="x" * 400)

ROUTES = {"*": [act]}
"""
Run = Callable[..., Process]


@pytest.fixture
def run(forks: Forks, rig: Rig, tmp_path: Path) -> Iterator[Run]:
    """Start a worker that writes its log to a path."""
    (tmp_path / "acts.py").write_text(HANDLERS, encoding="utf-8")
    env = {"REDIS_URL": rig.url, "HANDLERS": "acts:ROUTES"}
    started: list[Process] = []

    def run_one(log: Path) -> Process:
        started.append(Process("-m", "worker", env=env, log=log, forks=forks))
        return started[-1]

    yield run_one
    for process in started:
        assert process.stop() == 0


async def handles(rig: Rig, events: int, lines: int) -> None:
    await rig.closed(*[await rig.send(f"e{number}", lines=lines) for number in range(events)])
    await rig.idle()


async def test_a_full_disk_stops_nothing(run: Run, rig: Rig, tmp_path: Path) -> None:
    """From its start on."""
    path = tmp_path / "full.log"
    path.symlink_to("/dev/full")
    run(path)
    await handles(rig, 20, lines=10)


async def test_a_reader_that_stands_still_stops_nothing(run: Run, rig: Rig, tmp_path: Path) -> None:
    """A log collector that was paused."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 4096)
    run(path)
    await handles(rig, 20, lines=100)
    os.close(descriptor)


async def test_a_disk_that_fills_up_and_has_room_again(run: Run, rig: Rig, tmp_path: Path) -> None:
    """Lines wait up to a bound; what was dropped beyond it is in the log, exactly, and in what the doctor reads."""
    process = run(tmp_path / "log")
    process.wait_for("worker running")
    size = process.log.stat().st_size
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 5000, resource.RLIM_INFINITY))
    await handles(rig, 150, lines=100)
    assert process.log.stat().st_size == size + 5000

    async def is_announced() -> bool:
        [key] = await rig.keys(f"{KEYS.prefix}worker:*")
        told = json.loads(await rig.redis.get(key) or b"{}")
        return bool(told.get("dropped_log_lines"))

    await until(is_announced)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_until(lambda: "log lines were dropped" in process.output)
    lines = [json.loads(line) for line in process.output.splitlines()]
    dropped = [line["dropped"] for line in lines if re.match(r"\d+ log lines were dropped", line["event"])]
    written = sum(line["event"] in {"noise", "handled"} for line in lines)
    assert sum(dropped) + written == 150 * 101
