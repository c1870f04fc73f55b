"""What a handler is: `async def handler(event, ctx)`, what it is given, and what it may say by raising."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import httpx2
import structlog
from redis.asyncio import Redis
from structlog.typing import FilteringBoundLogger

from worker.event import Event


class RetryLater(Exception):
    """Raised by a handler: run it again after `seconds`, for the `reason` given.

    It does not use up a try, because the target said when (a 429) or nothing was tried (a rate limit, an open circuit
    breaker); the budget of age still ends it. Any other exception means again, with back-off. Without a reason the
    handler only waits its turn: `show` counts no failure.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason)
        self.seconds = max(0.0, float(seconds))  # a Decimal would raise where the wait is computed
        self.reason = reason


class GiveUp(Exception):
    """Raised by a handler: no retry can help, make it a dead letter now, for the `reason` given."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Skip(Exception):
    """Raised by a handler: there is nothing to do for this event, for the `reason` given.

    Recorded as `skipped`, which ends the handler's work like done, and told by `show`; it is no failure.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Context(NamedTuple):
    """What a handler is given beside the event.

    `attempt` counts from 1. `idempotency_key` names this handler and this event and is the same on every try and
    replay: hand it on to whatever can use it. `received_at` is when the receiver accepted the delivery (aware, UTC).
    `http` is one client shared by all handlers of the process, without a base URL: its errors hold no part of a URL but
    the host, and it keeps no cookies. `redis` is the kit's connection, and `prefix` begins every key that a handler
    keeps there. `about` has the fields of every log line about this run.
    """

    delivery_id: str
    attempt: int
    idempotency_key: str
    received_at: datetime
    http: httpx2.AsyncClient
    redis: Redis
    prefix: str
    about: Mapping[str, Any] = MappingProxyType({})

    @property
    def log(self) -> FilteringBoundLogger:
        """A logger whose lines have the fields of `about`; made when it is used, because most handlers log nothing."""
        bound: FilteringBoundLogger = structlog.get_logger(**self.about)
        return bound


Handler = Callable[[Event, Context], Awaitable[None]]
Routes = Mapping[str, Sequence[Handler]]


async def finished(handler: Handler, event: Event, ctx: Context) -> None:
    """Run a handler, and what it returns without having awaited it: else nothing of that would be done."""
    returned = await cast("Callable[[Event, Context], Awaitable[object]]", handler)(event, ctx)
    if returned is not None and isinstance(returned, Awaitable):  # None first: the other check costs 0.1 µs
        await returned


@cache
def name_of(handler: Handler) -> str:
    """`teams.notify`: the last part of the handler's module and its own name, in outcomes, logs and commands."""
    return f"{handler.__module__.rpartition('.')[2]}.{handler.__name__}"
