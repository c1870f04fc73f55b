"""One order and one pace for all workers: `in_order(handler)` in the route table.

A delivery stands in its handler's line from the moment a worker claims it, in the order of acceptance. The first of
the line runs, when the rate allows; the others wait as parked jobs, which use no worker slot, until the one before them
has left. `receiver/queue/lua/turn.lua` decides whose turn it is, `record.lua` calls the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, wraps
from typing import Literal

from receiver.environment import comma_separated, duration
from worker.event import Event
from worker.handler import Context, Handler, finished

MOST_STARTS = 1000
"""The largest count of a rate: each start within a rate's time is an entry in Redis."""
LONGEST_SPAN = 86_400_000
"""The longest time of a rate, in ms."""
_ORDER = "the order in which it takes events"


@dataclass(frozen=True, slots=True)
class Order:
    """What `in_order` was given. `problems` says what is wrong with it; the rest expects that nothing is."""

    by: str
    rate: str
    step_aside: int | None
    after_dead: str

    def problems(self) -> Iterator[str]:
        """One line for each mistake, without the handler's name."""
        if self.by not in {"subject", "handler"}:
            yield f'by: expected "subject" or "handler", got {self.by!r}'
        try:
            self.limits()
        except ValueError:
            yield f'rate: expected limits such as "4/1s, 60/30s" (so many starts in so long), got {self.rate!r}'
        if self.step_aside is not None and (type(self.step_aside) is not int or self.step_aside < 0):
            yield f"step_aside: expected a number of failures, or 0 for never, got {self.step_aside!r}"
        if self.after_dead not in {"pass", "hold"}:
            yield f'after_dead: expected "pass" or "hold", got {self.after_dead!r}'

    def limits(self) -> tuple[int, ...]:
        """The rate as the scripts take it: a count and the ms that it is for, in turn. Raises ValueError."""
        return _limits(str(self.rate)) if self.rate else ()

    @property
    def failures(self) -> int:
        """The failures after which an event lets the others pass; 0 for never."""
        if self.step_aside is None:
            return 3 if self.by == "handler" else 0
        return self.step_aside

    @property
    def holds(self) -> bool:
        """Whether a dead letter holds its line."""
        return self.after_dead == "hold"


@cache
def _limits(rate: str) -> tuple[int, ...]:
    return tuple(number for limit in comma_separated(rate) or [""] for number in _limit(limit))


def _limit(text: str) -> tuple[int, int]:
    count, _, span = text.partition("/")
    starts, ms = int(count), round(float(duration(span)) * 1000)
    if not (1 <= starts <= MOST_STARTS and 1 <= ms <= LONGEST_SPAN):
        raise ValueError
    return starts, ms


def in_order(
    handler: Handler,
    by: Literal["subject", "handler"] = "subject",
    rate: str = "",
    step_aside: int | None = None,
    after_dead: Literal["pass", "hold"] = "pass",
) -> Handler:
    """The handler, taking events one after the other, in the order of acceptance, across all workers.

    `by="subject"`: a line for each Work Order or Action; an event without one is not held back. `by="handler"`: one
    line for all of the handler's events.

    `rate`, such as "4/1s, 60/30s": at most so many starts in so long, whatever their line; every limit holds. By
    handler a start counts from the end of its run, so that the target sees no more, however long a request takes.

    The first of a line keeps its place when it asks for later (`RetryLater`) and when it fails. After `step_aside`
    failures it leaves the line, lets the others pass, and is tried again by itself; 0 is never. Default: 3 by handler,
    never by subject.

    A dead letter leaves its line; with `after_dead="hold"` those behind it wait until it is replayed or dropped.

    Write the same in every route of a handler. A replay of what is not in a line runs at once, within the rate.
    """
    order = Order(by, rate, step_aside, after_dead)
    try:
        return _wrapped(handler, order)
    except TypeError:  # something that cannot be hashed, which the route table refuses with a line
        return _wrapped.__wrapped__(handler, order)


@cache
def _wrapped(handler: Handler, order: Order) -> Handler:
    @wraps(handler)
    async def in_turn(event: Event, ctx: Context) -> None:
        await finished(handler, event, ctx)

    vars(in_turn)[_ORDER] = order
    return in_turn


def order_of(handler: Handler) -> Order | None:
    """What `in_order` was given for this handler; None for one that takes events as they come."""
    return getattr(handler, "__dict__", {}).get(_ORDER)
