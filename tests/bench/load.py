"""The load: wrk in a closed loop where it is installed, else the kit's own storm; the storm in an open loop."""

import asyncio
import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count as numbers
from pathlib import Path
from typing import Literal

import uvloop

from examples.sender.http.message import Message
from examples.sender.play.storm import Figures, Storm
from receiver.queue.valkey import with_parent
from tests.bench.processes import BenchError

CONNECTIONS = 64
SIZE = 1024
BEFORE = '{"id":"'
AFTER = (
    '","type":"work_order.updated","occurred_at":"2026-11-03T08:58:30+00:00","work_order":{"id":"wo_8241",'
    '"name":"Inspection of pump 7","status":"In Progress","site":{"id":"site_3","name":"North"}},"note":"%s"}'
)
SCRIPT = Path(__file__).with_name("events.lua")
GET_WRK = (
    "wrk is not installed (apt-get install wrk, brew install wrk): measuring with the kit's own storm, more slowly"
)


@dataclass(frozen=True, slots=True)
class Load:
    """What was sent and answered with 200, and in how long."""

    requests: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def stamp() -> str:
    """What makes the ids of one sample its own; always of the same length."""
    return f"evt_{secrets.token_hex(6)}_"


def after(size: int = SIZE) -> str:
    """What follows the id in a body of `size` bytes."""
    return AFTER % ("x" * (size - len(BEFORE) - len(stamp()) - 9 - len(AFTER) + 2))


def body(of: str, number: int, size: int = SIZE) -> bytes:
    """The event with a number, in this many bytes: what `events.lua` sends too."""
    return f"{BEFORE}{of}{number:09d}{after(size)}".encode()


def closed_loop(url: str, seconds: float, kind: Literal["unique", "duplicates"] = "unique") -> Load:
    """64 connections, each sending its next event when the last one was answered."""
    return _wrk(url, seconds, kind) if shutil.which("wrk") else _storm(url, seconds, kind)


def exactly(url: str, count: int, *, size: int = SIZE, clients: int = CONNECTIONS) -> Load:
    """So many unique events, as fast as these clients get them answered."""
    storm = Storm(url, _unique(size), count, timeout=60)
    figures = uvloop.run(storm.by_clients(clients))
    return Load(_all_ok(figures), figures.seconds)


def open_loop(url: str, rate: float, seconds: float) -> Figures:
    """So many events a second, whatever becomes of the earlier ones; every body carries the time when it was due."""
    ticks = numbers()
    begun_ns = 0
    of = stamp()

    def make() -> Message:
        nonlocal begun_ns
        number = next(ticks)
        begun_ns = begun_ns or time.time_ns()
        due_ns = begun_ns + round(number / rate * 1e9)
        payload = body(of, number, SIZE - 29)[:-1] + b',"due_ns":%d}' % due_ns
        return Message("work_order.updated", payload)

    figures = uvloop.run(Storm(url, make, round(rate * seconds)).at_rate(rate))
    _all_ok(figures)
    return figures


def _unique(size: int) -> Callable[[], Message]:
    of, ticks = stamp(), numbers()
    tail = after(size)
    return lambda: Message("work_order.updated", f"{BEFORE}{of}{next(ticks):09d}{tail}".encode())


def _wrk(url: str, seconds: float, kind: str) -> Load:
    # one thread: on two cores the second one would only take the receiver's place
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["-s", str(SCRIPT), url, "--", kind, stamp(), BEFORE, after()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60, **with_parent())
    if done.returncode != 0:
        raise BenchError(f"wrk failed: {done.stderr or done.stdout}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    if told["failed"]:
        raise BenchError(f"{told['failed']} of {told['requests']} requests were not answered with 200")
    return Load(told["requests"], told["seconds"])


def _storm(url: str, seconds: float, kind: str) -> Load:
    of, ticks, tail = stamp(), numbers(), after()
    number: Callable[[], int] = partial(next, ticks)
    turn = number if kind == "unique" else lambda: number() % 1000
    storm = Storm(url, lambda: Message("work_order.updated", f"{BEFORE}{of}{turn():09d}{tail}".encode()), 1 << 40)

    async def for_a_while() -> Figures:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await storm.by_clients(CONNECTIONS)
        return storm.figures

    figures = uvloop.run(for_a_while())
    return Load(_all_ok(figures), figures.seconds)


def _all_ok(figures: Figures) -> int:
    if figures.failed:
        raise BenchError(f"not every event was answered with 200: {dict(figures.answers)}")
    ok: int = figures.ok  # no type without the sender, which can be deleted
    return ok
