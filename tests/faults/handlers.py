"""The harness's handlers: three for every event, which leave a trace of each run and misbehave in a fixed way.

One of them takes the events of each subject in order, so that the faults meet deliveries that wait in line, too.

How long one takes, whether it fails first and whether it gives up follow from the event and the handler alone, so
that every run of the harness, and every attempt, meets the same behaviour.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Self

from tests.faults import effects
from worker.event import Event
from worker.routes import Context, GiveUp, Routes, ordered

NAMES = ("handlers.notify", "handlers.append", "handlers.update")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a handler treats an event: it takes `seconds`, fails `failures` times, then is done or gives up."""

    seconds: float
    failures: int
    gives_up: bool

    @classmethod
    def of(cls, event: str, handler: str) -> Self:
        digest = hashlib.sha256(f"{event} {handler}".encode()).digest()
        speed, temper, patience = (digest[i] / 256 for i in range(3))
        slow = patience < 0.02 or 0.03 < speed < 0.05  # longer than the workers' grace on SIGTERM
        return cls(
            seconds=1.0 + speed if slow else 0.005 + speed * 0.1,
            failures=2 if temper < 0.02 else 1 if temper < 0.06 else 0,
            gives_up=temper > 0.99,
        )


async def act(event: str, handler: str, attempt: int) -> None:
    """One run: its start, its time, its end, each as a line in this process's journal."""
    manner, write = Manner.of(event, handler), _journal().write
    write("start", event, handler, attempt)
    try:
        await asyncio.sleep(manner.seconds)
    except asyncio.CancelledError:
        write("cancelled", event, handler, attempt)
        raise
    if attempt <= manner.failures:
        write("failed", event, handler, attempt)
        raise RuntimeError("fails at first, as it has to")
    write("gave up" if manner.gives_up else "done", event, handler, attempt)
    if manner.gives_up:
        raise GiveUp("gives up, as it has to")


async def notify(event: Event, ctx: Context) -> None:
    await act(event.id or "", NAMES[0], ctx.attempt)


async def append(event: Event, ctx: Context) -> None:
    await act(event.id or "", NAMES[1], ctx.attempt)


async def update(event: Event, ctx: Context) -> None:
    await act(event.id or "", NAMES[2], ctx.attempt)


ROUTES: Routes = {"*": [notify, append, ordered(update)]}

_journal = cache(effects.journal)
