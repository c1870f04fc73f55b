"""`doctor`'s checks of Redis: does it keep what it acknowledged, and does it allow what the kit needs?

A check that Redis does not allow says so; the kit itself works without these commands.
"""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, TypeVar

from arq.connections import ArqRedis
from redis.exceptions import ReadOnlyError, ResponseError

from receiver.doctor import restart
from receiver.doctor.finding import Finding, Level
from receiver.queue import permissions, room, watermark
from receiver.queue.keys import JOB, Keys
from receiver.settings import ReceiverSettings
from receiver.watch import FULL

T = TypeVar("T")
A_DAY = 86400
NEEDED_VERSION = (7, 0)
"""Scripts declare `allow-oom`, which Redis supports since 7.0, and every Valkey."""


async def examine(settings: ReceiverSettings, redis: ArqRedis) -> AsyncIterator[Finding]:
    """Check the server and the kit's data on it. Raises one of `connection.REDIS_ERRORS`."""
    keys = Keys(settings.key_prefix)
    allowed = await _permissions(settings, keys, redis)
    for finding in allowed:
        yield finding
    async for finding in _server(settings, redis):
        yield finding
    if any(finding.level != "ok" for finding in allowed):
        return  # the other checks need commands that are refused
    before = time.time()
    seconds, microseconds = await redis.time()
    yield _clock(seconds + microseconds / 1_000_000, (before + time.time()) / 2)
    yield await _data(settings, keys, redis)
    yield await _dead_letters(keys, redis)
    yield await _expiry(keys, redis)
    async for finding in _workers(settings, keys, redis):
        yield finding


async def _asked(question: Awaitable[T]) -> T | None:
    """The answer, or None if Redis refuses the command."""
    try:
        return await question
    except ResponseError:
        return None


async def _permissions(settings: ReceiverSettings, keys: Keys, redis: ArqRedis) -> list[Finding]:
    try:
        lines = await permissions.refusals(redis, keys, replicas=settings.wait_replicas > 0)
    except ReadOnlyError:
        mend = "point REDIS_URL at the master, or use sentinel://"
        return [Finding("permissions", "unsafe", "Redis is read-only: a replica, or a demoted master", mend)]
    if not lines:
        return [Finding("permissions", "ok", f"the {len(permissions.NEEDED)} commands that the kit needs are allowed")]
    return [Finding("permissions", "unsafe", *line.rsplit(": ", 1)) for line in lines]


async def _server(settings: ReceiverSettings, redis: ArqRedis) -> AsyncIterator[Finding]:
    info, config = await _asked(redis.info()), await _config(redis)
    if info is None:
        mend = "look there: version 7.0 or later, a maxmemory below what the host has, the master and not a replica"
        yield Finding("server", "warning", "INFO is not allowed on this server: cannot look", mend)
    else:
        yield _version(info)
        yield _memory(info)
    if config is None:
        mend = "look there: appendonly yes, appendfsync always, maxmemory-policy noeviction"
        yield Finding("persistence", "warning", "CONFIG is not allowed on this server: cannot look", mend)
    else:
        file = info.get("config_file") if info else None
        yield _eviction(config, file)
        yield _persistence(config, file)
        yield restart.check(settings.redis_url.get_secret_value(), config, file)
    if info is not None:
        yield _replication(settings.wait_replicas, info, config or {})


async def _data(settings: ReceiverSettings, keys: Keys, redis: ArqRedis) -> Finding:
    mark = watermark.Watermark(redis, keys, watermark.beside(settings.spool_path))
    noted, before, now = await mark.noted(), mark.written(), await mark.now()
    what = watermark.loss(before, now or watermark.Mark("", 0, 0)) if before else None
    if noted or what:
        seen = f"{noted.at}: {noted.what}" if noted else str(what)
        mend = f"find out why, and ask the sender for what came before; then DEL {keys.lost}"
        return Finding("data", "unsafe", f"Redis has lost what it held: {seen}", mend)
    return Finding("data", "ok", f"{now.accepted if now else 0} deliveries accepted, no loss noticed")


async def _dead_letters(keys: Keys, redis: ArqRedis) -> Finding:
    count, moved = await redis.zcard(keys.dead), await room.moved(redis, keys)
    if moved:
        where = ", ".join(f"{number} in {folder}" for folder, number in moved.items())
        mend = "replay or drop them (python -m worker dead list), or give Redis more memory"
        return Finding("dead letters", "warning", f"{count}; Redis had no room for payloads: {where}", mend)
    return Finding("dead letters", "ok", f"{count}, all in Redis")


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
    config = await _asked(redis.execute_command("CONFIG GET", *names))
    return None if config is None else dict(config)


def _eviction(config: Mapping[str, str], file: str | None) -> Finding:
    policy = config.get("maxmemory-policy", "")
    if policy != "noeviction":
        advice = restart.advice("maxmemory-policy", "noeviction", file)
        mend = f"{advice}: any other deletes acknowledged deliveries when memory is short"
        return Finding("eviction", "unsafe", f"maxmemory-policy {policy}", mend)
    return Finding("eviction", "ok", "noeviction")


def _persistence(config: Mapping[str, str], file: str | None) -> Finding:
    if config.get("appendonly") != "yes":
        advice = restart.advice("appendonly", "yes", file)
        mend = f"{advice}: without it a restart loses every delivery since the last snapshot"
        return Finding("persistence", "unsafe", f"appendonly {config.get('appendonly')}", mend)
    fsync = config.get("appendfsync", "")
    if fsync != "always":
        level: Level = "warning" if fsync == "everysec" else "unsafe"
        advice = restart.advice("appendfsync", "always", file)
        mend = f"{advice}: a power loss may lose what was acknowledged since the last fsync"
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
        advice = restart.advice("min-replicas-to-write", "1", info.get("config_file"))
        mend = f"{advice}: a master cut off from its replicas goes on taking what will be lost"
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


async def _workers(settings: ReceiverSettings, keys: Keys, redis: ArqRedis) -> AsyncIterator[Finding]:
    """What running workers report of themselves; a worker with wrong handler settings does not run."""
    try:
        found = [
            json.loads(told)
            async for key in redis.scan_iter(keys.worker("*"), count=1000)
            if (told := await redis.get(key))
        ]
    except ResponseError:
        yield Finding("workers", "warning", "SCAN is not allowed on this server: cannot look", "see that they run")
        return
    if not found:
        mend = "start python -m worker: it names every wrong setting of its handlers"
        yield Finding("workers", "unsafe", "none is running", mend)
        return
    handlers = sorted({name for worker in found for name in worker["handlers"]})
    yield Finding("workers", "ok", f"{len(found)} running; handlers: {', '.join(handlers)}")
    yield _cut_short(found)
    yield _logs(found)
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


def _logs(workers: list[dict[str, Any]]) -> Finding:
    dropped = sum(worker.get("dropped_log_lines", 0) for worker in workers)  # version 0.1 does not report it
    if dropped:
        mend = "make room on the log's disk, or see that its reader runs; GET /healthz says the same of the receiver"
        return Finding("logs", "warning", f"workers that run now had to drop {dropped} log lines", mend)
    return Finding("logs", "ok", "no line of a worker's was dropped")
