"""Records what became of the handlers that one job ran: a line in the log, the metrics, and the outcome in Redis."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from logging import INFO
from typing import Any

import structlog

from receiver.delivery import Delivery
from receiver.tally import tally
from worker.lease.claims import FirstWrite
from worker.outcomes import Outcomes
from worker.transitions import Transition

log = structlog.get_logger()


class Recorder:
    """The records of one job about one delivery. `about` has the fields of each log line.

    `is_stopping` tells of a job's id whether the worker has cancelled that job.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        delivery: Delivery,
        job_id: str,
        is_stopping: Callable[[str], bool],
        about: Mapping[str, str],
    ) -> None:
        self._outcomes, self._delivery, self._about = outcomes, delivery, about
        self._job_id, self._is_stopping = job_id, is_stopping
        self._tells_success: bool = log.is_enabled_for(INFO)

    def first_write(self, transitions: Sequence[Transition]) -> FirstWrite | None:
        """What is written with the job's end; None unless all handlers succeeded at once, as nearly always."""
        row = self._outcomes.first_row(self._delivery, transitions)
        if row is None:
            return None
        self._observe(transitions)
        return FirstWrite(row, partial(self._outcomes.record, self._delivery, self._job_id, transitions))

    async def record(self, transitions: Sequence[Transition], *, routed: bool) -> None:
        """Write transitions, to their end before a cancellation goes on: the next worker has to see them.

        `routed`: no other handler of this event is still to be heard of.
        """
        try:
            await self.write(transitions, routed=routed)
        except asyncio.CancelledError:
            while True:
                # on its way or not, once more: written twice is written once
                writing = asyncio.create_task(self.write(transitions, routed=routed))
                await asyncio.wait([writing])
                if not writing.cancelled() or self._is_stopping(self._job_id):  # else a handler cancelled all: again
                    raise
        self._observe(transitions)

    def write(self, transitions: Sequence[Transition], *, routed: bool) -> Coroutine[Any, Any, None]:
        """Write transitions once; a cancellation ends this at once."""
        return self._outcomes.record(self._delivery, self._job_id, transitions, routed=routed)

    def tell(self, ended: Transition, reason: str, seconds: float) -> None:
        """The log line of a handler's run, at once: a sibling may take minutes more, or the worker may be killed."""
        if ended.state == "done" and not self._tells_success:
            return
        bound = log.bind(**self._about, handler=ended.handler, attempt=ended.attempt)
        since = time.time() - self._delivery.received_us / 1_000_000
        times = {"ms": round(seconds * 1000, 1), "since_received_ms": round(since * 1000)}
        if ended.state == "done":
            bound.info("handled", outcome="done", **times)
            return
        at, _, lines = ended.trace.partition("\n")
        told = {"outcome": ended.state, "reason": reason, **({"at": at} if at else {}), **times}
        if ended.state == "retry":
            tell = bound.info if ended.counted_as == "asked" else bound.warning
            tell("handler will be run again", in_s=round(ended.wait, 1), **told)
        elif ended.state == "dead":
            bound.error("dead letter", why=ended.counted_as, **told)
        else:
            bound.info("skipped", **told)
        if lines:
            bound.debug("traceback", trace=lines)

    def _observe(self, transitions: Sequence[Transition]) -> None:
        """Note how long handlers that came to their end took, from the acceptance on."""
        since = time.time() - self._delivery.received_us / 1_000_000
        for transition in transitions:
            if transition.state != "retry":
                tally.to_done.observe(since, transition.handler)
