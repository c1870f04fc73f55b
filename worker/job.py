"""One delivery's job, and one handler's retry: read the event, find its handlers, run them.

In the common case one delivery is one arq job whose handlers run side by side; one that fails, or has to wait its turn,
becomes a job of its own. `worker/run.py` is how they run.
"""

import time
from collections.abc import Mapping
from typing import Any

import structlog
from arq.utils import timestamp_ms
from arq.worker import Retry

from receiver.content import Unreadable, memory_bound
from receiver.delivery import Delivery
from receiver.tally import tally
from worker.handler import name_of
from worker.lease.claims import FirstWrite
from worker.run import DeliveryRun, HandlerRun
from worker.services import Services
from worker.transitions import dead, unread

log = structlog.get_logger()


async def deliver(ctx: dict[str, Any], value: Mapping[str, Any]) -> FirstWrite | None:
    """A delivery's job: run every handler of its event that has no outcome yet.

    What is returned is still to be recorded, with the end of the job.
    """
    services: Services = ctx["services"]
    delivery = Delivery.from_job(value)
    if ctx.get("fresh"):
        recorded: Mapping[str, tuple[str, int]] = {}
        tally.to_start.observe(time.time() - delivery.received_us / 1_000_000)
    else:
        recorded = await services.outcomes.recorded(delivery.id)
    async with services.memory.hold(memory_bound(delivery.headers, delivery.body, services.settings.max_body_bytes)):
        try:
            run = DeliveryRun(ctx, delivery)
        except Unreadable as error:
            log.warning("unreadable delivery", **delivery.for_log(), reason=str(error))
            await services.outcomes.record(delivery, ctx["job_id"], [unread(delivery, str(error))])
            return None
        event = run.event
        services.sightings.see(event, delivery.received_us)
        if not event.known:
            log.info("unknown event type", **delivery.for_log() | {"type": event.type})
        return await run.all([one for one in services.routes.handlers(event.type) if name_of(one) not in recorded])


async def retry(
    ctx: dict[str, Any], value: Mapping[str, Any], handler_name: str, attempt: int, tries: int, since_ms: int
) -> None:
    """One handler again, unless it has been done meanwhile."""
    services: Services = ctx["services"]
    delivery = Delivery.from_job(value)
    check_retry(handler_name, attempt)
    state, recorded = (await services.outcomes.recorded(delivery.id)).get(handler_name, ("retry", attempt - 1))
    if state != "retry" or recorded != attempt - 1:
        return
    handler = services.routes.by_name.get(handler_name)
    if handler is None:
        reason = f"no handler {handler_name!r} in HANDLERS any more; add it and replay, or drop this dead letter"
        gone = dead(delivery, handler_name, attempt, reason, "no_handler")
        log.error("dead letter", **delivery.for_log(), handler=handler_name, why="no_handler", reason=reason)
        await services.outcomes.record(delivery, ctx["job_id"], [gone], routed=False)
        return
    turn = await services.outcomes.lines.turn(delivery, handler_name)
    if turn.wait:
        raise Retry(turn.wait)
    async with services.memory.hold(memory_bound(delivery.headers, delivery.body, services.settings.max_body_bytes)):
        again = HandlerRun(handler, attempt, tries, since_ms or timestamp_ms(), turn.start)
        await DeliveryRun(ctx, delivery).again(again)


def check_retry(handler: Any, attempt: Any) -> None:
    """Arguments of another type would make `record.lua` fail for ever. Raises TypeError."""
    if not isinstance(handler, str) or not isinstance(attempt, int):
        raise TypeError("expected a handler's name and an attempt")
