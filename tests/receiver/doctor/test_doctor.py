"""`python -m receiver doctor`: what is unsafe is found, named and said how to mend."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis

from receiver.doctor import examine
from receiver.doctor.finding import Finding
from receiver.queue.connection import connect
from receiver.queue.keys import Keys
from receiver.queue.valkey import embedded
from receiver.settings import ReceiverSettings
from receiver.spool import Entry, Spool, damage
from tests.conftest import Start

TOKEN = "Zk3vQ0mXn8Jr5tYw2bUe7cAi9dLo4sPh"
WORKER = {
    "handlers": ["teams.notify"], "handler_timeout": 30.0, "lease": 5.0, "shutdown_grace": 30.0, "max_age": 259200.0,
    "dedupe_window": 604800.0, "max_body_bytes": 1048576,
}  # fmt: skip


@pytest.fixture
async def healthy(redis: ArqRedis) -> AsyncIterator[ArqRedis]:
    """A server as it should be, with a worker that says that it runs."""
    await redis.config_set("maxmemory", "1gb")
    await redis.set(Keys("glartek:").worker("host:1"), json.dumps(WORKER))
    yield redis
    for name, value in {"maxmemory": "0", "maxmemory-policy": "noeviction", "appendfsync": "always"}.items():
        await redis.config_set(name, value)


def settings(url: str, tmp_path: Path, **changes: Any) -> ReceiverSettings:
    values = {"redis_url": url, "webhook_token": TOKEN, "spool_path": tmp_path / "spool.db", **changes}
    return ReceiverSettings(**values)


async def found(redis: ArqRedis, config: ReceiverSettings) -> dict[str, Finding]:
    return {finding.check: finding for finding in await examine(config, redis) if finding.level != "ok"}


async def test_a_deployment_as_it_should_be_has_no_finding(healthy: ArqRedis, valkey_url: str, tmp_path: Path) -> None:
    """Append-only file, fsync always, no eviction, memory left, a worker, a spool on a disk: all is well."""
    assert await found(healthy, settings(valkey_url, tmp_path)) == {}


@pytest.mark.parametrize(
    ("name", "value", "check", "level"),
    [
        ("maxmemory-policy", "allkeys-lru", "eviction", "unsafe"),
        ("appendfsync", "everysec", "persistence", "warning"),
        ("appendfsync", "no", "persistence", "unsafe"),
        ("maxmemory", "0", "memory", "warning"),
        ("maxmemory", "1600kb", "memory", "unsafe"),
    ],
)
async def test_a_setting_of_the_server_that_loses_deliveries_is_found(  # noqa: PLR0917 - a table's columns
    healthy: ArqRedis, valkey_url: str, tmp_path: Path, name: str, value: str, check: str, level: str
) -> None:
    """Eviction, a missing fsync and a memory limit that is nearly reached are found, each with how to mend it."""
    await healthy.config_set(name, value)
    finding = (await found(healthy, settings(valkey_url, tmp_path)))[check]
    assert finding.level == level
    assert finding.mend


async def test_a_server_without_an_append_only_file_is_unsafe(tmp_path: Path) -> None:
    """A server that keeps deliveries in memory only is unsafe."""
    with embedded(tmp_path / "valkey", "--appendonly", "no") as url:
        client = connect(url)
        assert (await found(client, settings(url, tmp_path)))["persistence"].level == "unsafe"
        await client.aclose()


async def test_queued_jobs_that_expire_are_unsafe(healthy: ArqRedis, valkey_url: str, tmp_path: Path) -> None:
    """A job that stock arq enqueued is gone after a day without workers, and the doctor says so."""
    await healthy.enqueue_job("something", _queue_name=Keys("glartek:").queue)
    assert (await found(healthy, settings(valkey_url, tmp_path)))["job expiry"].level == "unsafe"


async def test_a_replica_is_not_what_to_write_to(healthy: ArqRedis, valkey_url: str, tmp_path: Path) -> None:
    """A receiver that points at a replica is unsafe."""
    await healthy.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        assert (await found(healthy, settings(valkey_url, tmp_path)))["replication"].level == "unsafe"
    finally:
        await healthy.execute_command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"max_age": 10 * 86400.0}, "retry horizon"),
        ({"shutdown_grace": 4.0}, "lease"),
        ({"dedupe_window": 3600.0}, "settings"),
        ({"dropped_log_lines": 5}, "logs"),
    ],
)
async def test_what_is_wrong_with_workers_is_found(
    healthy: ArqRedis, valkey_url: str, tmp_path: Path, changes: dict[str, float], check: str
) -> None:
    """A retry horizon over the dedupe window, a short grace, settings that differ and lost log lines are warnings."""
    await healthy.set(Keys("glartek:").worker("host:1"), json.dumps(WORKER | changes))
    assert (await found(healthy, settings(valkey_url, tmp_path)))[check].level == "warning"


async def test_a_spool_in_memory_or_out_of_reach_is_unsafe(healthy: ArqRedis, valkey_url: str, tmp_path: Path) -> None:
    """A spool on a file system in memory, or one that cannot be written, is unsafe."""
    memory = settings(valkey_url, tmp_path, spool_path=Path("/dev/shm/spool.db"))  # noqa: S108 - a tmpfs is the point
    assert (await found(healthy, memory))["spool"].level == "unsafe"
    nowhere = settings(valkey_url, tmp_path, spool_path=Path("/proc/nowhere/spool.db"))
    assert (await found(healthy, nowhere))["spool"].level == "unsafe"


async def test_what_is_in_the_spool_is_told(healthy: ArqRedis, valkey_url: str, tmp_path: Path) -> None:
    """What waits is well; what was set aside is a warning; damaged files, kept or in use, are unsafe."""
    config = settings(valkey_url, tmp_path)
    spool = Spool(config.spool_path)
    await spool.write([Entry(b"1"), Entry(b"2")])
    assert await found(healthy, config) == {}
    await spool.set_aside((await spool.read(1, 1))[0], "took more than 30 s")
    assert (await found(healthy, config))["set aside"].level == "warning"
    await spool.close()
    kept = damage.move_aside(config.spool_path)
    finding = (await found(healthy, config))["damaged spool"]
    assert (finding.level, finding.mend) == ("unsafe", f"python -m receiver spool recover {kept}")
    damage.rename(kept, "recovered")
    config.spool_path.write_bytes(b"no database" * 1000)
    assert (await found(healthy, config))["spool file"].level == "unsafe"


async def test_weak_but_valid_choices_are_warnings(healthy: ArqRedis, valkey_url: str, tmp_path: Path) -> None:
    """A token of 20 characters and a dedupe window of an hour are warnings, not refusals."""
    config = settings(valkey_url, tmp_path, webhook_token="abcdefghij0123456789", dedupe_window="1h")
    assert {"token", "dedupe window"} <= set(await found(healthy, config))


async def test_the_command_exits_with_1_when_something_is_unsafe(
    redis: ArqRedis, valkey_url: str, start: Start
) -> None:
    """Without a running worker the command says so in JSON too, and its exit code is 1."""
    await redis.config_set("maxmemory", "0")
    doctor = start("-m", "receiver", "doctor", "--json", REDIS_URL=valkey_url, WEBHOOK_TOKEN=TOKEN)
    assert doctor.wait() == 1
    findings = {finding["check"]: finding for finding in json.loads(doctor.output)}
    assert findings["workers"]["level"] == "unsafe"
    assert findings["persistence"]["level"] == "ok"


def test_a_server_that_does_not_answer_is_unsafe(start: Start) -> None:
    """With Redis away the command says what it could see, and its exit code is 1."""
    doctor = start("-m", "receiver", "doctor", REDIS_URL="redis://127.0.0.1:1/0", WEBHOOK_TOKEN=TOKEN)
    assert doctor.wait() == 1
    assert "unsafe   redis: does not answer" in doctor.output
