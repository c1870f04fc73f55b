"""The whole kit with a Teams stand-in: each trouble is told once, and once when it is over, by one process."""

import json
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis

from receiver.alerts.troubles import KINDS
from tests.conftest import TOKEN, Process, Server, Start, wait_until
from tests.end_to_end.channel import Channel
from tests.receiver.conftest import Receiver, listening, request

HANDLERS = """
from pathlib import Path
from worker import GiveUp

async def act(event, ctx):
    if event.payload.get("wish") == "dies":
        raise GiveUp("not today")
    if Path("broken").exists():
        raise OSError("the target is away")

ROUTES = {"*": [act]}
"""
QUICK = {
    "ALERTS_EVERY": "0.2s",
    "ALERTS_AFTER": "0.5s",
    "ALERTS_OVER_AFTER": "0.5s",
    "ALERTS_OLDEST_READY": "1s",
    "ALERTS_SPOOLED": "1s",
    "ALERTS_DOCTOR": "1s",
    "RETRY_BASE": "0.2s",
    "RETRY_CAP": "0.2s",
    "HANDLERS": "acts:ROUTES",
}
HOUR = 3600


class Kit:
    """One receiver and workers, and the cards in the channel."""

    def __init__(self, start: Start, server: Server, folder: Path, stand_ins: str) -> None:
        self._start, self._folder, self._sink = start, folder, stand_ins
        self.url = server.url
        self.channel = Channel(stand_ins, server.url)
        self._env = {"REDIS_URL": server.url, "ALERTS_TEAMS_URL": self.channel.hook, **QUICK}
        self.spool = folder / "spool.db"
        self.processes: list[Process] = []
        self._sent = 0

    def redis(self) -> Redis:
        return Redis.from_url(self.url)

    def receiver(self) -> Receiver:
        env = {"WEBHOOK_TOKEN": TOKEN, "PORT": "0", "SPOOL_PATH": str(self.spool)} | self._env
        env |= {"MAX_BODY_BYTES": str(1 << 20), "MAX_BUFFERED_BYTES": str(1 << 20)}
        found = listening(self._start("-m", "receiver", **env))
        self.processes.append(found.process)
        return found

    def worker(self, **more: str) -> Process:
        process = self._start("-m", "worker", **self._env | more)
        process.wait_for("worker running")
        self.processes.append(process)
        return process

    def send(self, to: Receiver, count: int = 1, **more: object) -> None:
        for _ in range(count):
            self._sent += 1
            self.post(to, f"e{self._sent}", **more)

    def post(self, to: Receiver, event_id: str, **more: object) -> None:
        body = json.dumps({"id": event_id, "type": "action.created", **more}).encode()
        assert to.post(body).status == 200

    def teams(self, **orders: Any) -> None:
        """What the channel's workflow answers next."""
        httpx2.post(f"{self._sink}/control/teams", json=orders, trust_env=False).raise_for_status()

    def logged(self) -> list[str]:
        """What the channel is told, from the log lines of all processes."""
        lines = [json.loads(line) for one in self.processes for line in one.output.splitlines() if line[:1] == "{"]
        found = [line for line in lines if line["event"] in {"alert", "alert is over"}]
        found.sort(key=lambda line: line["timestamp"])
        about = [f" ({line['about']})" if "about" in line else "" for line in found]
        over = [" is over" if line["event"] == "alert is over" else "" for line in found]
        return [line["alert"] + what + end for line, what, end in zip(found, about, over, strict=True)]

    def wait_for(self, *lines: str) -> None:
        self.channel.wait_for(*lines)


@pytest.fixture
def kit(start: Start, server: Server, tmp_path: Path, stand_ins: str) -> Kit:
    (tmp_path / "acts.py").write_text(HANDLERS)
    return Kit(start, server, tmp_path, stand_ins)


def overflow(receiver: Receiver) -> None:
    """Two bodies at once that are more than the receiver may hold: one is answered 503."""
    head, body = request(b"x" * 900_000).split(b"\r\n\r\n", 1)
    with (
        socket.create_connection(("127.0.0.1", receiver.port)) as one,
        socket.create_connection(("127.0.0.1", receiver.port)) as two,
    ):
        for connection in (one, two):
            connection.sendall(head + b"\r\n\r\n" + body[:800_000])
        two.settimeout(10)
        one.settimeout(0.5)
        answers = b""
        for connection in (two, one):
            try:
                answers += connection.recv(1000)
            except TimeoutError:
                continue
        assert b" 503 " in answers, answers


@pytest.mark.timeout(240)
def test_each_trouble_is_told_and_is_over(kit: Kit, server: Server, tmp_path: Path) -> None:
    """By a card and by a log line, once each; a Teams that fails for a moment and a restart repeat and lose none."""
    host = socket.gethostname()
    with kit.redis() as redis:
        # Events came at every hour of the weeks before, and none for the last four hours.
        now = int(redis.time()[0])
        redis.hset("glartek:hours", mapping={str(now // HOUR - back): 9 for back in range(1, 24 * 7 * 4)})
        redis.hset("glartek:metrics", "seen action.created", now - 4 * HOUR - 60)
    kit.teams(answers=[503, 429], retry_after=1)
    receiver, worker = kit.receiver(), kit.worker(ALERTS_DISK_FREE=str(1 << 60))
    kit.wait_for("GlartekSilence", f"GlartekDiskShort ({host})")
    kit.send(receiver)
    kit.wait_for("GlartekSilence is over")

    kit.channel.wait_until_kept()

    # A worker that is killed has told all of it already.
    worker.signal(signal.SIGKILL)
    worker.wait()
    worker = kit.worker()
    kit.wait_for(f"GlartekDiskShort ({host}) is over")

    # Events that die, that are taken for others, that cannot be stored; a handler that fails for a while.
    kit.send(receiver, 3, wish="dies")
    for number in range(5):
        kit.post(receiver, "e1", other=number)
    overflow(receiver)
    kit.wait_for("GlartekDeadLetters (acts.act gave_up)", "GlartekConflicts (event-id)", "GlartekEventsNotStored")
    (tmp_path / "broken").touch()
    kit.send(receiver, 6)
    kit.wait_for("GlartekHandlerFailing (acts.act)")
    (tmp_path / "broken").unlink()
    kit.send(receiver, 100)
    kit.wait_for("GlartekHandlerFailing (acts.act) is over")

    _redis_in_trouble(kit, receiver)

    # Nobody receives, nobody handles, and the receiver tells what no worker can.
    receiver.process.stop()
    kit.wait_for("GlartekNoReceiver")
    receiver = kit.receiver()
    kit.wait_for("GlartekNoReceiver is over")
    worker.stop()
    kit.send(receiver, 3)
    kit.wait_for("GlartekNoWorker", "GlartekBacklogOld")
    kit.worker()
    kit.wait_for("GlartekNoWorker is over", "GlartekBacklogOld is over")

    # Redis is away; a receiver that is restarted meanwhile does not tell it again.
    kit.channel.wait_until_kept()
    server.kill()
    kit.wait_for(f"GlartekRedisAway ({host})")
    receiver.process.stop()
    receiver = kit.receiver()
    time.sleep(2)  # nothing happens, which nothing announces
    server.start()
    kit.wait_for(f"GlartekRedisAway ({host}) is over")

    _each_once(kit)


def _redis_in_trouble(kit: Kit, receiver: Receiver) -> None:
    """Redis is unsafe, then nearly full, so that events wait on the disk, where a damaged file lies."""
    host = socket.gethostname()
    damaged = kit.spool.with_name("spool.db.damaged-20261126T002359Z")
    with kit.redis() as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        kit.wait_for(f"GlartekUnsafe ({host} eviction)")
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] / 0.9))
        damaged.write_bytes(b"nothing that could be read")
        wait_until(lambda: "redis is nearly full" in receiver.process.output)
        kit.send(receiver, 3)
        kit.wait_for("GlartekRedisMemory", f"GlartekSpoolNotDraining ({host})", f"GlartekSpoolNeedsHand ({host})")
        damaged.unlink()
        redis.config_set("maxmemory", 0)
    lasting = ("GlartekRedisMemory", f"GlartekSpoolNotDraining ({host})", f"GlartekSpoolNeedsHand ({host})")
    kit.wait_for(f"GlartekUnsafe ({host} eviction) is over", *(f"{name} is over" for name in lasting))


def _each_once(kit: Kit) -> None:
    told, logged = Counter(kit.channel.told()), Counter(kit.logged())
    assert {line.partition(" ")[0] for line in told} == set(KINDS)
    assert told == logged
    assert set(told.values()) == {1}, told
    for process in kit.processes:
        assert kit.channel.hook.rpartition("=")[2] not in process.output
        assert TOKEN not in process.output
