"""A worker alerts, and a receiver while there is none."""

import asyncio
from pathlib import Path

from arq.connections import ArqRedis

from receiver.alerts.alerting import Alerting
from receiver.alerts.settings import AlertSettings
from receiver.alerts.store import HostBook, SharedBook
from receiver.environment import load
from receiver.queue.keys import Keys
from receiver.tally import Reports
from tests.conftest import until

KEYS = Keys("glartek:")


async def test_a_receiver_makes_way_for_a_worker_at_once(redis: ArqRedis, tmp_path: Path) -> None:
    """And not only when its lease has run out, in which time nobody would alert."""
    settings = load(AlertSettings, _env_file=None, alerts_every=0.1)
    receiver = Alerting(settings, redis, KEYS, HostBook(tmp_path / "spool.db"))
    running = asyncio.create_task(receiver.run())
    await until(lambda: redis.exists(KEYS.alerting))
    worker = SharedBook(redis, KEYS, 60)
    assert await worker.take() is None
    await Reports(redis, KEYS, "worker", dict).send()
    await until(worker.take)
    running.cancel()
    await asyncio.wait([running])
