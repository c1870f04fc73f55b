"""`python -m worker healthy`: what the probes of Compose and Kubernetes ask."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

from tests.conftest import Process, Server, Start, wait_until
from tests.worker.conftest import KEYS, Rig

AWAY = "redis://127.0.0.1:9/0"


def asked(start: Start, url: str, *options: str) -> tuple[int, str]:
    """Exit code and output."""
    probe = start("-m", "worker", "healthy", *options, REDIS_URL=url)
    return probe.wait(), probe.output


async def says(rig: Rig, age: float, **told: Any) -> None:
    """A worker of this host said something so many seconds ago."""
    seconds, micros = await rig.redis.time()
    about = {"kind": "worker", "host": socket.gethostname(), "running": 3, **told}
    said = f"{seconds * 1000 + micros // 1000 - round(age * 1000)} 9 {json.dumps(about)}"
    await rig.redis.execute_command("HSET", KEYS.processes, json.dumps(told), said)


async def test_a_worker_that_reports_is_healthy(start: Start, rig: Rig) -> None:
    """Exit code 0 and one line; of several on a host the latest counts."""
    await says(rig, 40, number=1)
    await says(rig, 2, number=2)
    code, output = asked(start, rig.url)
    assert (code, output) == (0, f"healthy: the worker of {socket.gethostname()} has 3 deliveries in work\n")
    code, output = asked(start, rig.url, "--json")
    assert (code, json.loads(output)["healthy"]) == (0, True)


async def test_a_worker_that_hangs_is_not(start: Start, rig: Rig) -> None:
    """It reports from its event loop: exit code 1 once that has stood still for 15 s."""
    await says(rig, 20)
    code, output = asked(start, rig.url)
    assert code == 1
    assert "has not reported for 20 s" in output
    assert output.count("\n") == 1


async def test_only_workers_of_this_host_count(start: Start, rig: Rig) -> None:
    """Neither another host's nor this host's receiver says anything of this host's worker."""
    await says(rig, 1, host="another")
    await says(rig, 1, kind="receiver")
    code, output = asked(start, rig.url)
    assert code == 1
    assert "no worker of" in output


def test_a_redis_that_is_away_is_no_reason_to_restart(start: Start) -> None:
    """A new worker would wait for it, too."""
    code, output = asked(start, AWAY)
    assert code == 0
    assert "unknown: Redis does not answer" in output
    assert "Traceback" not in output


def worker(start: Start, url: str, folder: Path) -> Process:
    (folder / "h.py").write_text("async def note(event, ctx): ...\n\n\nROUTES = {'*': [note]}\n")
    process = start("-m", "worker", REDIS_URL=url, HANDLERS="h:ROUTES")
    process.wait_for("worker running")
    return process


def test_a_real_worker_is_healthy_until_it_ends(server: Server, start: Start, tmp_path: Path) -> None:
    """A worker that ends says so, and is no longer taken for one that hangs."""
    process = worker(start, server.url, tmp_path)
    wait_until(lambda: asked(start, server.url)[0] == 0)
    process.signal(signal.SIGTERM)
    process.wait()
    code, output = asked(start, server.url)
    assert code == 1
    assert "no worker of" in output
