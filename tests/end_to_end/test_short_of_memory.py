"""Live work never waits for what is dead or kept: a Redis of 64 MiB, and more than that of payloads."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from receiver.queue.connection import connect
from receiver.queue.keys import Keys
from receiver.queue.valkey import embedded
from tests.conftest import TOKEN, Process, Start, hash_of, until
from tests.receiver.conftest import Receiver, event, listening

KEYS = Keys("glartek:")
MEGABYTE = 1_000_000
LIVE = 100
HANDLERS = """
from worker import GiveUp

async def act(event, ctx):
    if event.payload.get("wish") == "dies":
        raise GiveUp("not today")

ROUTES = {"*": [act]}
"""


class Site:
    """A receiver and a worker with a Redis that is small."""

    def __init__(self, redis: ArqRedis, url: str, start: Start, folder: Path) -> None:
        self.redis, self._start = redis, start
        (folder / "acts.py").write_text(HANDLERS, encoding="utf-8")
        self._env = {"REDIS_URL": url, "HANDLERS": "acts:ROUTES", "WEBHOOK_TOKEN": TOKEN, "PORT": "0"}
        self._env["SPOOL_PATH"] = str(folder / "data" / "spool.db")

    def run(self, *arguments: str) -> Process:
        return self._start("-m", *arguments, **self._env)

    async def started(self) -> Receiver:
        worker = self.run("worker")
        receiver = await asyncio.to_thread(lambda: listening(self.run("receiver")))
        await asyncio.to_thread(worker.wait_for, "worker running")
        return receiver

    async def count(self, name: str) -> int:
        return int((await hash_of(self.redis, KEYS.counts)).get(name, 0))


@pytest.fixture
async def site(tmp_path: Path, start: Start) -> AsyncIterator[Site]:
    with embedded(tmp_path / "valkey", "--maxmemory", "64mb") as url:
        redis = connect(url)
        yield Site(redis, url, start, tmp_path)
        await redis.aclose()


async def post(receiver: Receiver, name: str, size: int, **more: str) -> None:
    """An event with a payload that compression makes no smaller, but by what JSON needs."""
    text = os.urandom(size * 3 // 4 // 2).hex() if size < MEGABYTE else os.urandom(size // 2).hex()
    answer = await asyncio.to_thread(receiver.post, event(name, pad=text, **more))
    assert answer.status == 200


def reached(site: Site, name: str, count: int) -> Callable[[], Awaitable[bool]]:
    async def is_reached() -> bool:
        return await site.count(name) >= count

    return is_reached


@pytest.mark.parametrize(("many", "wish", "becomes"), [(90, "dies", "dead"), (80, "", "done")], ids=["dead", "kept"])
async def test_live_events_are_handled_while_payloads_fill_redis(
    site: Site, many: int, wish: str, becomes: str
) -> None:
    """More megabytes of dead letters, or of finished deliveries, than Redis holds; small ones must not wait."""
    receiver = await site.started()
    for number in range(many):
        await post(receiver, f"large{number}", MEGABYTE, wish=wish)
    await until(reached(site, f"acts.act {becomes}", many), 60)
    already = await site.count("acts.act done")
    for number in range(LIVE):
        await post(receiver, f"live{number}", 200)
    await until(reached(site, "acts.act done", already + LIVE), 15)
    memory = await site.redis.info("memory")
    await until(lambda: has_room(site), 5)
    assert memory["maxmemory"] == 64 << 20
    if wish:
        assert await site.redis.zcard(KEYS.dead) == many
        dropped = site.run("worker", "dead", "replay", "--all", "--yes", "--json")
        assert await asyncio.to_thread(dropped.wait, 60) == 0, dropped.output
        assert f'"replayed": {many}' in dropped.output
        await until(reached(site, "acts.act dead", many), 60)


async def has_room(site: Site) -> bool:
    memory = await site.redis.info("memory")
    return bool(memory["used_memory"] < 0.75 * memory["maxmemory"])
