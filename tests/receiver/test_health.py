"""`GET /healthz` tells whether deliveries can be stored, and what an operator has to look after."""

import json
import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from receiver import logs
from receiver.app import create_app
from receiver.settings import ReceiverSettings
from receiver.spool import Entry, Spool, damage
from tests.conftest import Server, unused_port, wait_until
from tests.receiver.conftest import Receiver, StartReceiver, event

WELL = {
    "status": "ok", "redis": "ok", "spool": "ok", "spooled": 0, "oldest_seconds": 0, "set_aside": 0, "damaged": [],
    "log_lines_dropped": 0,
}  # fmt: skip


def health(receiver: Receiver) -> tuple[int, dict[str, Any]]:
    answer = receiver.post(path="/healthz", method="GET")
    return answer.status, json.loads(answer.body)


def wait_for(receiver: Receiver, **expected: object) -> None:
    """Return once these fields are what is expected, and the status 200."""
    wait_until(lambda: health(receiver) == (200, health(receiver)[1] | expected), explain=lambda: str(health(receiver)))


def test_all_is_well(server: Server, start_receiver: StartReceiver) -> None:
    """Every field has a value that says so."""
    assert health(start_receiver(REDIS_URL=server.url)) == (200, WELL)


def test_redis_alone_being_away_is_well(server: Server, start_receiver: StartReceiver) -> None:
    """The spool takes what comes: how much waits there is told, and for how long, until it is drained."""
    receiver = start_receiver(REDIS_URL=server.url)
    server.kill()
    assert receiver.post(event("e1")).status == 200
    wait_for(receiver, redis="away", spooled=1)
    wait_until(lambda: health(receiver)[1]["oldest_seconds"] >= 0.5)
    server.start()
    wait_for(receiver, **WELL)


def test_a_store_that_failed_is_503_until_one_succeeds(server: Server, start_receiver: StartReceiver) -> None:
    """With Redis away and a disk that is full: 503, with the reason, until something can be stored again."""
    receiver = start_receiver(REDIS_URL=server.url)
    server.kill()
    resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    assert receiver.post(b"x" * 200_000).status == 503
    status, told = health(receiver)
    assert (status, told["status"]) == (503, "failing")
    time.sleep(0.5)  # looks at Redis and at the spool
    assert health(receiver)[0] == 503
    assert receiver.post(event("small")).status == 200
    wait_for(receiver, status="ok", redis="away", spooled=1)
    assert receiver.post(b"x" * 200_000).status == 503
    server.start()
    wait_for(receiver, **WELL)


def test_what_needs_a_hand_is_told(start_receiver: StartReceiver, tmp_path: Path) -> None:
    """Deliveries set aside, and damaged files until they are recovered."""
    receiver = start_receiver()
    damaged = tmp_path / "spool.db.damaged-20261126T000000Z"
    damaged.write_bytes(b"")
    wait_for(receiver, damaged=[damaged.name])
    assert "what is in them is not handled" in receiver.process.wait_for("damaged spool files are kept")
    damage.rename(damaged, "recovered")
    wait_for(receiver, damaged=[])


async def test_what_no_redis_can_store_is_told_as_set_aside(start_receiver: StartReceiver, tmp_path: Path) -> None:
    """It does not count as waiting."""
    spool = Spool(tmp_path / "spool.db")
    await spool.write([Entry(b"no delivery")])
    await spool.close()
    wait_for(start_receiver(), set_aside=1, spooled=0)


def test_dropped_log_lines_are_told(monkeypatch: pytest.MonkeyPatch, in_process: ReceiverSettings) -> None:
    """Those of this process, so that somebody learns of it whose log is not read."""
    monkeypatch.setattr(logs, "dropped", lambda: 7)
    with TestClient(create_app(in_process)) as client:
        assert client.get("/healthz").json()["log_lines_dropped"] == 7


def test_it_moves_to_a_port_of_its_own(start_receiver: StartReceiver) -> None:
    """With HEALTH_PORT the public port has nothing at /healthz; the private one is on loopback."""
    port = unused_port()
    receiver = start_receiver(HEALTH_PORT=str(port))
    assert receiver.post(path="/healthz", method="GET").status == 404
    assert receiver.post(event("e1")).status == 200
    private = replace(receiver, port=port)
    assert health(private)[0] == 200
    assert private.post(path="/nowhere").status == 404
