"""`python -m receiver doctor`: is this deployment one in which a 200 is a promise?

Each check looks at the real thing and says what it saw and how to mend it. What it cannot see it says too.
"""

import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from arq.connections import ArqRedis

from receiver.connection import TROUBLE
from receiver.intake import FULL
from receiver.keys import JOB, Keys
from receiver.settings import ReceiverSettings

Level = Literal["ok", "warning", "unsafe"]
A_DAY = 86400
NEEDED_VERSION = (7, 0)
"""Scripts declare `allow-oom`, which Redis knows from 7.0 on; every Valkey does."""
VOLATILE = {"tmpfs": "memory", "ramfs": "memory"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw. `mend` says what to do and is empty where all is well."""

    check: str
    level: Level
    seen: str
    mend: str = ""


async def examine(settings: ReceiverSettings, redis: ArqRedis) -> list[Finding]:
    """Every check, in order."""
    findings = [_token(settings), _window(settings), *_spool(settings.spool_path)]
    try:
        findings += [finding async for finding in _redis(settings, redis)]
    except TROUBLE as error:
        mend = "start it, or mend REDIS_URL; until then deliveries wait in the spool"
        findings.append(Finding("redis", "unsafe", f"does not answer: {error}", mend))
    return findings


def _token(settings: ReceiverSettings) -> Finding:
    shortest = min(len(token.get_secret_value()) for token in settings.webhook_token)
    if shortest < 32:  # noqa: PLR2004 - 32 URL-safe characters hold 192 bits
        mend = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        return Finding("token", "warning", f"the shortest has {shortest} characters", mend)
    return Finding("token", "ok", f"{len(settings.webhook_token)}, of {shortest} characters or more")


def _window(settings: ReceiverSettings) -> Finding:
    seen = f"ids are remembered for {settings.dedupe_window / A_DAY:g} days after their last outcome"
    if settings.dedupe_window < A_DAY:
        mend = "set DEDUPE_WINDOW to a day at least: how long Glartek retries is not documented"
        return Finding("dedupe window", "warning", seen, mend)
    return Finding("dedupe window", "ok", seen)


def _spool(path: Path) -> list[Finding]:
    folder = path.resolve().parent
    while not folder.exists():
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        seen = f"{path} cannot be written ({error.strerror})"
        return [Finding("spool", "unsafe", seen, "mend its permissions, or set SPOOL_PATH")]
    kind, free = _filesystem(folder), shutil.disk_usage(folder).free >> 20
    if kind in VOLATILE:
        seen = f"{folder} is {kind}: {VOLATILE[kind]}, not a disk"
        return [Finding("spool", "unsafe", seen, "set SPOOL_PATH to a path on a disk")]
    if kind == "overlay":
        seen = f"{folder} is in the container's own layer, which goes with the container"
        return [Finding("spool", "unsafe", seen, "mount a volume there")]
    if free < 512:  # noqa: PLR2004 - MiB, about half a million deliveries
        return [Finding("spool", "warning", f"{free} MiB free in {folder}", "make room: it is what outlasts an outage")]
    return [Finding("spool", "ok", f"{path} can be written, on {kind or 'a disk'}, {free} MiB free")]


def _filesystem(folder: Path) -> str:
    """The type of the file system that holds a folder, "" where the system does not tell."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    holding = [mount for mount in mounts if folder.is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[1]), default=["", "", ""])[2]


async def _redis(settings: ReceiverSettings, redis: ArqRedis) -> AsyncIterator[Finding]:
    before = time.time()
    seconds, microseconds = await redis.time()
    yield _clock(seconds + microseconds / 1_000_000, (before + time.time()) / 2)
    info = await redis.info()
    yield _version(info)
    yield _memory(info)
    config = await _config(redis)
    if config is None:
        mend = "check there: appendonly yes, appendfsync always, maxmemory-policy noeviction"
        yield Finding("persistence", "warning", "CONFIG is not allowed on this server: cannot look", mend)
    else:
        yield _eviction(config)
        yield _persistence(config)
        yield _replication(settings.wait_replicas, info, config)
    yield await _expiry(Keys(settings.key_prefix), redis)
    async for finding in _workers(settings, redis):
        yield finding


def _clock(theirs: float, ours: float) -> Finding:
    skew = theirs - ours
    if abs(skew) > 1:
        seen = f"Redis's clock is {skew:+.1f} s off this host's"
        return Finding("clock", "warning", seen, "synchronise both with NTP: times in logs and reports disagree")
    return Finding("clock", "ok", f"within {abs(skew) * 1000:.0f} ms of Redis's")


def _version(info: Mapping[str, Any]) -> Finding:
    name, version = ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info["redis_version"])
    if tuple(map(int, str(info["redis_version"]).split(".")[:2])) < NEEDED_VERSION:
        return Finding("version", "unsafe", f"{name} {version}", "use Redis 7.0 or later, or Valkey")
    return Finding("version", "ok", f"{name} {version}")


def _memory(info: Mapping[str, Any]) -> Finding:
    used, limit = int(info["used_memory"]), int(info.get("maxmemory", 0))
    if not limit:
        mend = "set maxmemory below what the host has: then the receiver spools before Redis is full"
        return Finding("memory", "warning", f"{used >> 20} MiB used, no maxmemory", mend)
    seen = f"{used >> 20} of {limit >> 20} MiB used"
    if used > FULL * limit:
        return Finding("memory", "unsafe", seen, "raise maxmemory, or let workers drain: deliveries go to the spool")
    return Finding("memory", "ok", seen)


async def _config(redis: ArqRedis) -> Mapping[str, str] | None:
    names = ("maxmemory-policy", "appendonly", "appendfsync", "min-replicas-to-write")
    try:
        return dict(await redis.execute_command("CONFIG GET", *names))
    except TROUBLE:  # managed services forbid CONFIG
        return None


def _eviction(config: Mapping[str, str]) -> Finding:
    policy = config.get("maxmemory-policy", "")
    if policy != "noeviction":
        mend = "CONFIG SET maxmemory-policy noeviction: any other deletes acknowledged deliveries when memory is short"
        return Finding("eviction", "unsafe", f"maxmemory-policy {policy}", mend)
    return Finding("eviction", "ok", "noeviction")


def _persistence(config: Mapping[str, str]) -> Finding:
    if config.get("appendonly") != "yes":
        mend = "CONFIG SET appendonly yes: without it a restart loses every delivery since the last snapshot"
        return Finding("persistence", "unsafe", f"appendonly {config.get('appendonly')}", mend)
    fsync = config.get("appendfsync", "")
    if fsync != "always":
        level: Level = "warning" if fsync == "everysec" else "unsafe"
        mend = "CONFIG SET appendfsync always: a power loss may lose what was acknowledged since the last fsync"
        return Finding("persistence", level, f"append-only file, fsync {fsync}", mend)
    return Finding("persistence", "ok", "append-only file, fsync always")


def _replication(asked_for: int, info: Mapping[str, Any], config: Mapping[str, str]) -> Finding:
    replicas = int(info.get("connected_slaves", 0))
    if info.get("role") != "master":
        mend = "point REDIS_URL at the master, or use sentinel://"
        return Finding("replication", "unsafe", "this is a replica", mend)
    if replicas < asked_for:
        seen = f"WAIT_REPLICAS asks for {asked_for} replicas, {replicas} are connected"
        return Finding("replication", "unsafe", seen, "start them: until then every delivery waits in the spool")
    if replicas and not asked_for:
        mend = "set WAIT_REPLICAS to 1: a failover loses what only the lost master had"
        return Finding("replication", "warning", f"{replicas} replicas, no delivery waits for one", mend)
    if replicas and config.get("min-replicas-to-write", "0") == "0":
        mend = "CONFIG SET min-replicas-to-write 1: a master cut off from its replicas goes on taking what will be lost"
        return Finding("replication", "warning", f"{replicas} replicas, none needed for a write", mend)
    return Finding("replication", "ok", f"master with {replicas} replicas" if replicas else "one server")


async def _expiry(keys: Keys, redis: ArqRedis) -> Finding:
    ids = [job_id.decode() for job_id in await redis.zrange(keys.queue, 0, 199)]
    async with redis.pipeline(transaction=False) as pipe:
        for job_id in ids:
            pipe.pttl(JOB + job_id)
        lifetimes = await pipe.execute()
    expiring = [job_id for job_id, lifetime in zip(ids, lifetimes, strict=True) if lifetime >= 0]
    if expiring:
        mend = "they were enqueued by arq itself: pass _expires to enqueue_job, or a long outage of workers loses them"
        return Finding("job expiry", "unsafe", f"{len(expiring)} of {len(ids)} queued jobs looked at will expire", mend)
    return Finding("job expiry", "ok", f"no queued job expires ({len(ids)} looked at)")


async def _workers(settings: ReceiverSettings, redis: ArqRedis) -> AsyncIterator[Finding]:
    """What running workers say of themselves: they would not run with wrong handler settings."""
    keys = Keys(settings.key_prefix)
    found = [json.loads(told) async for key in redis.scan_iter(keys.worker("*")) if (told := await redis.get(key))]
    if not found:
        mend = "start python -m worker: it names every wrong setting of its handlers"
        yield Finding("workers", "unsafe", "none is running", mend)
        return
    handlers = sorted({name for worker in found for name in worker["handlers"]})
    yield Finding("workers", "ok", f"{len(found)} running; handlers: {', '.join(handlers)}")
    yield _cut_short(found)
    for name, mine in (("DEDUPE_WINDOW", settings.dedupe_window), ("MAX_BODY_BYTES", settings.max_body_bytes)):
        if any(worker[name.lower()] != mine for worker in found):
            seen = f"receiver and workers have different values of {name}"
            yield Finding("settings", "warning", seen, f"set {name} alike for all")
    horizon = max(worker["max_age"] for worker in found)
    if horizon > settings.dedupe_window:
        seen = f"handlers are tried for {horizon / A_DAY:g} days, ids remembered for {settings.dedupe_window / A_DAY:g}"
        yield Finding("retry horizon", "warning", seen, "set DEDUPE_WINDOW to MAX_AGE at least")


def _cut_short(workers: list[dict[str, Any]]) -> Finding:
    lease = min(worker["lease"] for worker in workers)
    grace = min(worker["shutdown_grace"] for worker in workers)
    longest = max(worker["handler_timeout"] for worker in workers)
    seen = f"lease {lease:g} s, renewed while a handler runs (up to {longest:g} s); {grace:g} s to end after SIGTERM"
    if grace < longest:
        mend = "set SHUTDOWN_GRACE to HANDLER_TIMEOUT: a handler that is cut short is run again from its start"
        return Finding("lease", "warning", seen, mend)
    return Finding("lease", "ok", seen)
