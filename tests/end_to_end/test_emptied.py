"""A Redis that was emptied under load is said by receiver, worker and doctor, once each, and the kit goes on."""

import asyncio
import json
from pathlib import Path

from receiver.queue.connection import connect
from receiver.queue.keys import Keys
from tests.conftest import TOKEN, Process, Server, Start, until
from tests.receiver.conftest import event, listening

KEYS = Keys("glartek:")
SAID = "redis has lost what it held"


async def test_flushall_is_said_by_everybody_once(server: Server, start: Start, tmp_path: Path) -> None:
    """What was not finished is lost, by nature; what comes afterwards is handled, and doctor tells of it for days."""
    (tmp_path / "acts.py").write_text("async def act(event, ctx): ...\nROUTES = {'*': [act]}\n", encoding="utf-8")
    env = {"REDIS_URL": server.url, "HANDLERS": "acts:ROUTES", "WEBHOOK_TOKEN": TOKEN, "PORT": "0"}
    env["SPOOL_PATH"] = str(tmp_path / "data" / "spool.db")
    worker = start("-m", "worker", **env)
    receiver = await asyncio.to_thread(lambda: listening(start("-m", "receiver", **env)))
    redis = connect(server.url)
    assert receiver.post(event("e1")).status == 200
    await asyncio.to_thread(worker.wait_for, '"handled"')
    await until(lambda: redis.exists(KEYS.life))
    await asyncio.sleep(6)  # nothing shows that a worker has looked, which it does every 5 s
    await redis.flushall()
    assert receiver.post(event("e2")).status == 200
    for process in (receiver.process, worker):
        await asyncio.to_thread(process.wait_for, SAID)
    await asyncio.sleep(2)
    assert receiver.process.output.count(SAID) == worker.output.count(SAID) == 1
    assert worker.output.count('"handled"') == 2
    told = await _doctor(start, env)
    assert "it was emptied, or another one took its place" in told["seen"]
    assert f"DEL {KEYS.lost}" in told["mend"]
    await redis.delete(KEYS.lost)
    assert (await _doctor(start, env))["level"] == "ok"
    await redis.aclose()


async def _doctor(start: Start, env: dict[str, str]) -> dict[str, str]:
    """What doctor says of the data."""
    doctor: Process = start("-m", "receiver", "doctor", "--json", **env)
    await asyncio.to_thread(doctor.wait)
    [found] = [finding for finding in json.loads(doctor.output) if finding["check"] == "data"]
    return dict(found)
