"""Buries a job that will not be run again: writes a dead letter for each of its handlers without an outcome.

Such a job killed its workers, was started too often, or is not one of the kit's. It is kept in any case.
"""

from collections.abc import Sequence
from typing import Any

from arq.connections import ArqRedis

from receiver.content import Unreadable
from receiver.delivery import Delivery
from receiver.queue import letters
from receiver.queue.connection import until_redis_answers
from receiver.queue.jobs import FUNCTION, unpack
from receiver.queue.keys import Keys
from receiver.queue.scripts import Script, Value
from worker.event import read
from worker.handler import name_of
from worker.job import check_retry
from worker.services import Services
from worker.transitions import RETRY_FUNCTION, dead, unread

_BURY = Script.load("bury.lua")


async def bury(services: Services, job_id: str, data: bytes | None, reason: str) -> None:
    """Store a job that will not be run again: as dead letters of its handlers, or unchanged if it cannot be read."""
    try:
        job = unpack(data or b"")
        await _bury_handlers(services, job_id, job["f"], Delivery.from_job(job["a"][0]), job["a"][1:], reason)
    except Exception:  # noqa: BLE001 - any error means that it is not the kit's job
        await bury_unchanged(services.redis, services.outcomes.keys, job_id, data or b"", reason)


async def bury_unchanged(redis: ArqRedis, keys: Keys, job_id: str, data: bytes, reason: str) -> None:
    """Keep a job that is not the kit's, or cannot be read, among the dead letters."""
    dead_id = f"{job_id}:job"
    script_keys = [keys.dead, keys.dead_letter(dead_id), keys.metrics]
    arguments: list[Value] = [dead_id, *letters.pack(data), reason]
    await until_redis_answers(lambda: _BURY(redis, script_keys, arguments))


async def _bury_handlers(
    services: Services, job_id: str, function: str, delivery: Delivery, arguments: Sequence[Any], reason: str
) -> None:
    handlers = _handlers_of(services, function, delivery, arguments)
    # A handler that `deliver` has recorded has either ended or got its own `retry` job.
    is_retry = function == RETRY_FUNCTION
    recorded = await services.outcomes.recorded(delivery.id)
    ended = [
        dead(delivery, name, attempt, reason, "buried")
        for name, attempt in handlers.items()
        if name not in recorded or (is_retry and recorded[name][0] == "retry")
    ]
    if not handlers:
        ended = [unread(delivery, reason, "buried")]
    await services.outcomes.record(delivery, job_id, ended, routed=not is_retry)


def _handlers_of(services: Services, function: str, delivery: Delivery, arguments: Sequence[Any]) -> dict[str, int]:
    """The handlers that the job would have run, with the number of the attempt."""
    if function == RETRY_FUNCTION:
        handler, attempt = arguments[:2]
        check_retry(handler, attempt)
        return {handler: attempt}
    if function != FUNCTION:
        raise LookupError(function)
    try:
        event = read(delivery, services.settings)  # not `delivery.type`: an older receiver may not have found it
    except Unreadable:
        return {}
    return {name_of(handler): 1 for handler in services.routes.handlers(event.type)}
