"""Memory for events: large ones wait for each other, small ones for nobody."""

import asyncio
import gzip
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Start, until
from tests.worker.conftest import Rig, body_of, delivery_of
from worker.memory import Memory

MIB = 1 << 20


class Guests:
    """Who is in a memory of 750 bytes for large events, and of 1 byte for each small one."""

    def __init__(self) -> None:
        self.memory = Memory(1000, 250)
        self.inside: list[int] = []
        self._leaving: dict[int, asyncio.Event] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def come(self, *sizes: int) -> None:
        for size in sizes:
            self._leaving[size] = asyncio.Event()
            self.tasks[size] = asyncio.create_task(self._stay(size))
        await asyncio.sleep(0.001)

    async def go(self, size: int) -> None:
        self._leaving[size].set()
        await self.tasks[size]
        await asyncio.sleep(0.001)

    async def _stay(self, size: int) -> None:
        async with self.memory.hold(size):
            self.inside.append(size)
            await self._leaving[size].wait()
            self.inside.remove(size)


async def test_events_wait_until_there_is_room_in_the_order_of_their_arrival() -> None:
    """The one that is first in line has the next room; who comes later does not pass it, even where it would fit."""
    guests = Guests()
    await guests.come(400, 300, 200, 40)
    assert guests.inside == [400, 300]
    await guests.go(300)
    assert guests.inside == [400, 200, 40]
    assert guests.memory.free == 750 - 640


async def test_a_small_event_waits_for_nobody() -> None:
    """Of no more than its share of a quarter: all of them together fit there."""
    guests = Guests()
    await guests.come(750, 500, 1)
    assert guests.inside == [750, 1]


async def test_an_event_larger_than_the_room_has_it_to_itself() -> None:
    """However large it is, it is handled."""
    guests = Guests()
    await guests.come(100, 5000, 200)
    assert guests.inside == [100]
    assert guests.memory.free < 0
    await guests.go(100)
    assert guests.inside == [5000]
    await guests.go(5000)
    assert guests.inside == [200]


@pytest.mark.parametrize("cancelled", [600, 500], ids=["in line", "behind it"])
async def test_who_no_longer_waits_is_in_nobodys_way(cancelled: int) -> None:
    """A job that is given back takes no room and no place in the line."""
    guests = Guests()
    await guests.come(700, 600, 500)
    guests.tasks[cancelled].cancel()
    with suppress(asyncio.CancelledError):
        await guests.tasks[cancelled]
    await guests.go(700)
    assert guests.inside == [1100 - cancelled]
    await guests.go(1100 - cancelled)
    assert guests.memory.free == 750


HANDLERS = """
import asyncio
from pathlib import Path

async def act(event, ctx):
    while "x" in event.payload and not Path("go").exists():
        await asyncio.sleep(0.01)
    with Path("ended").open("a") as file:
        print(event.id, file=file)

ROUTES = {"*": [act]}
"""


def peak(pid: int) -> int:
    """The most memory that a process has held, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def nested(event_id: str) -> bytes:
    """An event of 7 KB that takes 10 MB as values: a fourth of a megabyte of objects in objects."""
    noise = random.Random(event_id).randbytes(6000).hex()  # or it would be packed suspiciously well
    return gzip.compress(body_of(event_id, noise=noise, x=[])[:-2] + b",".join([b'{"":{}}'] * 30_000) + b"]}")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_costly_events_neither_fill_the_memory_nor_hold_up_the_others(
    rig: Rig, start: Start, tmp_path: Path
) -> None:
    """Fifty small gzips, half a gigabyte together, wait for each other; events behind them are handled meanwhile."""
    (tmp_path / "acts.py").write_text(HANDLERS, encoding="utf-8")
    costly = [await rig.accept(delivery_of(nested(f"e{number}"), content_encoding="gzip")) for number in range(50)]
    cheap = [await rig.send(f"cheap{number}") for number in range(20)]
    process = start("-m", "worker", REDIS_URL=rig.url, HANDLERS="acts:ROUTES", MAX_HELD_BYTES=str(128 * MIB))
    await rig.closed(*cheap)
    assert any([(await rig.story(one))["open"] for one in costly])
    (tmp_path / "go").touch()
    await rig.closed(*costly)
    assert peak(process.pid) < 100e6 + 128 * MIB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_costly_events_whose_end_waits_for_redis_hold_no_memory(rig: Rig, start: Start, tmp_path: Path) -> None:
    """Once its handler has ended an event is let go, although Redis is away and its outcome is still to be written."""
    (tmp_path / "acts.py").write_text(HANDLERS, encoding="utf-8")
    costly = [await rig.accept(delivery_of(nested(f"e{number}"), content_encoding="gzip")) for number in range(50)]
    cheap = await rig.send("cheap")
    process = start("-m", "worker", REDIS_URL=rig.url, HANDLERS="acts:ROUTES", MAX_HELD_BYTES=str(128 * MIB))
    await rig.closed(cheap)
    redis = (await rig.redis.info("server"))["process_id"]
    os.kill(redis, signal.SIGSTOP)
    try:
        (tmp_path / "go").touch()
        await until(lambda: len((tmp_path / "ended").read_text().split()) == 51, timeout=20)
    finally:
        os.kill(redis, signal.SIGCONT)
    await rig.closed(*costly)
    assert peak(process.pid) < 100e6 + 128 * MIB
