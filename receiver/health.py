"""`GET /healthz`: whether deliveries can be stored, and what an operator has to act on."""

import shutil
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from receiver import logs
from receiver.spool import Spool
from receiver.watch import Watch


async def healthy(scope: Scope, receive: Receive, send: Send) -> None:
    """503 after a failed store until one succeeds, else 200: while Redis is away the spool stores deliveries.

    | field | meaning |
    |---|---|
    | `status` | `ok`, or `failing` |
    | `redis` | `ok`, `ok, memory unknown`, `nearly full` or `away` |
    | `spool` | `ok`, or the reason why it cannot be used |
    | `spooled` | deliveries that wait in the spool |
    | `oldest_seconds` | how long the oldest of them has waited; null when version 0.1 wrote it |
    | `set_aside` | deliveries that could not be stored in Redis: `python -m receiver spool list` |
    | `damaged` | damaged spool files, whose deliveries are not handled: `python -m receiver spool recover FILE` |
    | `log_lines_dropped` | lines that this process dropped because its log could not be written |
    """
    intake = scope["state"]["intake"]
    spool, watch = intake.spool, intake.watch
    report = {
        "status": "failing" if watch.is_failing() else "ok",
        "redis": _redis(watch),
        "spool": spool.trouble or "ok",
        "spooled": spool.depth,
        "oldest_seconds": _age(spool.oldest) if spool.depth else 0,
        "set_aside": spool.aside,
        "damaged": spool.damaged,
        "log_lines_dropped": logs.dropped(),
    }
    status = HTTPStatus.SERVICE_UNAVAILABLE if watch.is_failing() else HTTPStatus.OK
    await JSONResponse(report, status)(scope, receive, send)


def spool_figures(spool: Spool) -> dict[str, Any]:
    """What a receiver reports of its spool, for `/metrics` and alerts; `oldest` is a Unix time, `free` of its disk."""
    return {
        "path": str(spool.path.absolute()),
        "events": spool.depth,
        "bytes": spool.bytes,
        "oldest": spool.oldest,
        "set_aside": spool.aside,
        "damaged": len(spool.damaged),
        "unusable": bool(spool.trouble),
        "free": _free(spool.path),
    }


def _free(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return None


def _redis(watch: Watch) -> str:
    if watch.redis_away:
        return "away"
    if watch.redis_full:
        return "nearly full"
    return "ok, memory unknown" if watch.memory_unknown else "ok"


def _age(since: float | None) -> float | None:
    return None if since is None else round(max(0.0, time.time() - since), 1)
