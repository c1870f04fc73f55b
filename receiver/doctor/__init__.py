"""`python -m receiver doctor`: checks that this deployment loses no delivery that was answered 200.

Each check reports what it found and how to correct it, or that it could not look.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from arq.connections import ArqRedis

from receiver.doctor import redis_server
from receiver.doctor.finding import Finding
from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.settings import ReceiverSettings
from receiver.spool.overview import overview

A_DAY = 86400
VOLATILE = {"tmpfs": "memory", "ramfs": "memory"}


async def examine(settings: ReceiverSettings, redis: ArqRedis) -> list[Finding]:
    """The findings of every check, in order."""
    findings = [_token(settings), _window(settings), _spool(settings.spool_path), *_spooled(settings.spool_path)]
    try:
        findings += [finding async for finding in redis_server.examine(settings, redis)]
    except REDIS_ERRORS as error:
        mend = "start it, or mend REDIS_URL; until then deliveries wait in the spool"
        findings.append(Finding("redis", "unsafe", f"does not answer: {error}", mend))
    return findings


async def report(settings: ReceiverSettings) -> list[Finding]:
    """The same, with a connection of its own."""
    redis = connect(settings.redis_url.get_secret_value())
    try:
        return await examine(settings, redis)
    finally:
        await redis.aclose()


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


def _spool(path: Path) -> Finding:
    folder = path.resolve().parent
    while not folder.exists():
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        seen = f"{path} cannot be written ({error.strerror})"
        return Finding("spool", "unsafe", seen, "mend its permissions, or set SPOOL_PATH")
    kind, free = _filesystem(folder), shutil.disk_usage(folder).free >> 20
    if kind in VOLATILE:
        seen = f"{folder} is {kind}: {VOLATILE[kind]}, not a disk"
        return Finding("spool", "unsafe", seen, "set SPOOL_PATH to a path on a disk")
    if kind == "overlay":
        seen = f"{folder} is in the container's own layer, which goes with the container"
        return Finding("spool", "unsafe", seen, "mount a volume there")
    if free < 512:  # noqa: PLR2004 - MiB, about half a million deliveries
        return Finding("spool", "warning", f"{free} MiB free in {folder}", "make room: it is what outlasts an outage")
    return Finding("spool", "ok", f"{path} can be written, on {kind or 'a disk'}, {free} MiB free")


def _spooled(path: Path) -> Iterator[Finding]:
    """The content of the spool, and what an operator has to do about it."""
    found = overview(path)
    for kept in found.damaged:
        mend = f"python -m receiver spool recover {kept}"
        yield Finding("damaged spool", "unsafe", f"{kept} is kept: what waits in it is not handled", mend)
    if found.trouble:
        mend = (
            "mend what it says; a damaged file is moved aside once the receiver meets the damage, and can be recovered"
        )
        yield Finding("spool file", "unsafe", f"{path}: {found.trouble}", mend)
    if found.aside:
        seen = f"{len(found.aside)} deliveries could not be stored in Redis and are tried again each minute"
        yield Finding("set aside", "warning", seen, "see why: python -m receiver spool list")
    age = f", the oldest for {time.time() - found.oldest:.0f} s" if found.oldest else ""
    yield Finding("spooled", "ok", f"{found.waiting} deliveries wait{age}")


def _filesystem(folder: Path) -> str:
    """The type of the file system of a folder; "" if the system does not tell."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    holding = [mount for mount in mounts if folder.is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[1]), default=["", "", ""])[2]
