"""What can become of a handler's run: done, skipped, another try, or a dead letter.

`worker/outcomes.py` writes it to Redis.
"""

from typing import Literal, NamedTuple

from arq.utils import timestamp_ms

from receiver.delivery import Delivery
from receiver.queue.jobs import pack_job

RETRY_FUNCTION = "retry"
"""The arq function that a handler's retry job names; its arguments are those of `retry_job`."""
PARSE = "parse"
"""Stands for a handler where a delivery could not be read at all, so that no handler was ever chosen."""
Dying = Literal["gave_up", "tries", "age", "unreadable", "no_handler", "buried"]
"""Why a handler's work became a dead letter, as metrics tell it: few, where reasons are many."""
Retrying = Literal["failed", "asked"]
"""The same for a retry: `asked` is `RetryLater`, with which nothing need be wrong."""


class Transition(NamedTuple):
    """A handler's new state. `attempt` counts runs from 1; `job` is what a retry, or a replay, would run.

    `counted_as` is why, for a retry or a dead letter, as metrics tell it. `trace` is where it failed: the customer's
    own line, an end of line, and all lines.
    Of a handler in order: `start` is the token of its turn, and a retry that `leaves` lets the others pass. A retry
    after attempt 0 waits for its turn.
    """

    handler: str
    attempt: int
    state: Literal["done", "skipped", "retry", "dead"]
    error: str = ""
    job: bytes = b""
    wait: float = 0.0
    counted_as: Dying | Retrying = "failed"
    start: str = ""
    leaves: bool = False
    trace: str = ""


def dead(delivery: Delivery, handler: str, attempt: int, reason: str, counted_as: Dying) -> Transition:
    """A handler's end as a dead letter."""
    job = retry_job(delivery, handler, attempt + 1, 0, 0)
    return Transition(handler, attempt, "dead", reason, job, counted_as=counted_as)


def unread(delivery: Delivery, reason: str, counted_as: Dying = "unreadable") -> Transition:
    """A whole delivery's end as a dead letter, because no event could be read in it."""
    return Transition(PARSE, 1, "dead", reason, delivery.job(), counted_as=counted_as)


def retry_job(delivery: Delivery, handler: str, attempt: int, tries: int, since_ms: int) -> bytes:
    """A job that runs one handler: `attempt` is its number, `tries` were used up since `since_ms` (Unix ms).

    A `since_ms` of 0 means from when it runs: a replay has its whole budget again. The arguments are what workers of
    every version take: what has to be added goes into the delivery's value, which they keep.
    """
    arguments = [delivery.as_value(), handler, attempt, tries, since_ms]
    return pack_job(RETRY_FUNCTION, arguments, timestamp_ms())
