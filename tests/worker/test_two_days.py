"""A worker that was away for two days: the clock of Valkey and of the worker is moved, nothing is slept through."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import msgpack
import pytest

from receiver.acceptance import Acceptance, accept_directly
from receiver.queue.connection import connect
from receiver.queue.keys import JOB
from tests.conftest import Server, Start, until
from tests.worker.conftest import KEYS, Journal, Rig, asks_nothing, body_of, delivery_of, stock_worker
from worker import Context, Event, GiveUp, RetryLater
from worker.lease.claims import Claims

AWAY = 48 * 3600
HANDLERS = """
async def act(event, ctx): pass
ROUTES = {"*": [act]}
"""


@pytest.fixture
def later() -> dict[str, str]:
    """The variables under which a process lives two days later."""
    found = find_spec("libfaketime")
    library = Path(found.origin or "").parent / "vendor/libfaketime/src/libfaketime.so.1" if found else None
    variables = {"LD_PRELOAD": str(library), "FAKETIME": f"+{AWAY}", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    asked = subprocess.run(
        [sys.executable, "-S", "-c", "import time; print(time.time())"],
        env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if float(asked.stdout or 0) < time.time() + AWAY - 60:
        assert "CI" not in os.environ, asked.stderr
        pytest.skip("libfaketime cannot move the clock of a process here")
    return variables


@asynccontextmanager
async def served(server: Server) -> AsyncIterator[Rig]:
    redis = connect(server.url)
    yield Rig(server.url, redis)
    await redis.aclose()


async def act(event: Event, ctx: Context) -> None:  # noqa: ARG001 - a handler's signature
    if event.id == "retried":
        raise RetryLater(3600, "later")
    raise GiveUp("no")


act.__module__ = "acts"


async def test_nothing_is_lost_while_a_worker_is_away_for_two_days(
    server: Server, start: Start, tmp_path: Path, later: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waited, was to be tried again or was running is done, what is dead is kept; a job of arq's own is gone."""
    (tmp_path / "acts.py").write_text(HANDLERS, encoding="utf-8")
    async with served(server) as rig:
        retried, dead = await rig.send("retried"), await rig.send("dead")
        async with rig.working({"*": [act]}):
            await rig.closed(dead)
            await until(lambda: rig.redis.exists(JOB + KEYS.retry_job_id(retried.id, "acts.act", 1)))
        running = await rig.send("running")
        [claim] = await Claims(rig.redis, KEYS, KEYS.queue, 1.0).take(10, alone=True)
        assert claim.job_id == running.job_id
        waiting = await rig.send("waiting")
        rig.redis.job_serializer = msgpack.packb
        assert await rig.redis.enqueue_job("asks_nothing", _queue_name="stock")
    server.stop()

    for name, value in later.items():
        monkeypatch.setenv(name, value)
    await asyncio.to_thread(server.start)
    for name in later:
        monkeypatch.delenv(name)
    async with served(server) as rig:
        assert (await rig.redis.time())[0] > time.time() + AWAY - 60
        assert await accept_directly(rig.redis, KEYS, delivery_of(waiting.body)) is Acceptance.DUPLICATE
        start("-m", "worker", **later, REDIS_URL=server.url, HANDLERS="acts:ROUTES", LEASE="1s")
        await rig.closed(retried, running, waiting)
        for delivery in (retried, running, waiting):
            assert await rig.states(delivery) == {"acts.act": "done"}
            assert await rig.redis.ttl(KEYS.delivery(delivery.id)) == pytest.approx(7 * 86400, abs=60)
        [letter] = await rig.letters()
        assert letter.body() == body_of("dead")

        journal = Journal()
        functions = [journal.function(asks_nothing)]
        await stock_worker(rig.redis, functions, queue_name="stock", burst=True, keep_result=0).async_run()
        assert journal.starts == []
        assert not await rig.redis.exists("stock")
