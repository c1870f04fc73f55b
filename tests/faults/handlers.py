"""The harness's handlers: three for every event, which write a journal of each run and fail in a fixed way.

Two are in order, so that faults also hit deliveries that wait for an earlier one. Two have the real effect of
an example: a row in the audit log, and an update of the external system for a Work Order.

How long a handler takes, whether it fails first and whether it gives up depend only on event and handler, so that all
runs of the harness and all attempts behave alike.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Self

from examples.handlers import audit_log, external_system
from tests.faults import effects
from worker.event import Event
from worker.handler import Context, GiveUp, Routes, Skip
from worker.order import in_order

NAMES = ("handlers.notify", "handlers.append", "handlers.update")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a handler handles an event: it takes `seconds`, fails `failures` times, then is done or gives up."""

    seconds: float
    failures: int
    gives_up: bool

    @classmethod
    def of(cls, event: str, handler: str) -> Self:
        digest = hashlib.sha256(f"{event} {handler}".encode()).digest()
        speed, temper, slowness = (digest[i] / 256 for i in range(3))
        slow = slowness < 0.02 or 0.03 < speed < 0.05  # longer than the workers' grace on SIGTERM
        return cls(
            seconds=1.0 + speed if slow else 0.005 + speed * 0.1,
            failures=2 if temper < 0.02 else 1 if temper < 0.06 else 0,
            gives_up=temper > 0.99,
        )


async def _nothing() -> None: ...


async def act(event: str, handler: str, attempt: int, effect: Callable[[], Awaitable[None]] = _nothing) -> None:
    """One run, with its effect if it has one; writes start and end into this process's journal."""
    manner, write = Manner.of(event, handler), _journal().write
    write("start", event, handler, attempt)
    try:
        await asyncio.sleep(manner.seconds)
        if attempt > manner.failures and not manner.gives_up:
            await effect()
    except asyncio.CancelledError:
        write("cancelled", event, handler, attempt)
        raise
    except Skip:
        write("skipped", event, handler, attempt)
        raise
    except Exception:
        write("failed", event, handler, attempt)
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
    await act(event.id or "", NAMES[1], ctx.attempt, lambda: audit_log.append(event, ctx))


async def update(event: Event, ctx: Context) -> None:
    is_about_work = event.subject is not None and event.subject.kind == "work_order"
    effect = (lambda: external_system.update(event, ctx)) if is_about_work else _nothing
    await act(event.id or "", NAMES[2], ctx.attempt, effect)


def configure() -> None:
    audit_log.configure()
    external_system.configure()


ROUTES: Routes = {"*": [in_order(notify), append, in_order(update)]}

_journal = cache(effects.journal)
