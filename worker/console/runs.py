"""What an operator has set going: many replays or drops, in the background, with progress, and stopped when asked.

They run in the console's process. When that ends, what was not reached stays a dead letter, and the log has how far it
came; each replay or drop is a step of its own, and is whole or not done.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import structlog
from arq.connections import ArqRedis

from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.keys import Keys
from worker import bulk
from worker.changes import Change
from worker.console.page import trouble_of
from worker.dead_letters import Operator
from worker.letter import DeadLetter

REMEMBERED = 50
log = structlog.get_logger()
Select = Callable[[Operator], Awaitable[Sequence[DeadLetter]]]


@dataclass
class Run:
    """One of them: who wants it and why, and how far it is."""

    id: str
    verb: str
    who: str
    reason: str
    about: str
    per_minute: float
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: Literal["running", "done", "stopped", "failed"] = "running"
    trouble: str = ""
    progress: bulk.Progress = field(default_factory=lambda: bulk.Progress(0))
    task: "asyncio.Task[None] | None" = None


class Runs:
    """Those of this process, the newest first."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._count = 0

    def start(self, redis: ArqRedis, keys: Keys, run: Run, select: Select) -> Run:
        """Begin it; `select` finds which dead letters are meant."""
        self._count += 1
        run.id = str(self._count)
        self._runs[run.id] = run
        ended = [one for one in self._runs.values() if one.state != "running"]
        for old in ended[: max(0, len(self._runs) - REMEMBERED)]:
            del self._runs[old.id]
        run.task = asyncio.create_task(_go(redis, keys, run, select))
        return run

    def get(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def all(self) -> list[Run]:
        return list(reversed(self._runs.values()))

    async def stop(self) -> None:
        """End all of them, when the console ends."""
        tasks = [run.task for run in self._runs.values() if run.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _go(redis: ArqRedis, keys: Keys, run: Run, select: Select) -> None:
    operator = Operator(redis, keys)
    change = Change(run.verb, run.who, run.reason, run.about, "console")
    try:
        await change.tell(redis, keys, run=run.id, state="begun", per_minute=run.per_minute)
        async for progress in bulk.run(operator, run.verb, await select(operator), run.per_minute):
            run.progress = progress
            await asyncio.sleep(0)  # the pages of others come first
        run.state = "done"
    except asyncio.CancelledError:
        run.state = "stopped"
        raise
    except REDIS_ERRORS as error:
        run.state, run.trouble = "failed", f"{trouble_of(error)}; what is left can be begun anew"
    except Exception as error:  # unexpected; its text may hold a payload
        log.exception("console: a run failed", run=run.id)
        run.state, run.trouble = "failed", f"{type(error).__name__}; the console's log says where"
    finally:
        with suppress(*REDIS_ERRORS):  # then the log alone has it
            await change.tell(
                redis, keys, run=run.id, state=run.state, done=run.progress.done, chosen=run.progress.total
            )
