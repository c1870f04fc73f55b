"""What counting for /metrics costs: the statements that count, timed alone.

No load can show a microsecond: two samples of one kit differ by more. Timed alone, caches are warm; in a process that
does other things between two events the same statements take longer, twice as long perhaps. What Redis adds up in its
scripts, and the report that each process sends once a second, however many events there were, are not in it.
"""

import time
from collections.abc import Callable, Sequence

from receiver import events
from receiver.delivery import Delivery
from receiver.tally import tally
from tests.bench.receiver import Bench
from worker.transitions import Transition

EVENTS = 220_000
"""In each round: 0.1 µs an event is 22 ms of CPU."""
HANDLER = "acme.notify"
_DONE = [Transition(HANDLER, 1, "done")]


def counting(bench: Bench) -> None:
    """CPU of counting an event in the receiver, and in a worker with one handler."""
    for turn in range(bench.rounds):
        bench.tell(f"round {turn + 1}: {EVENTS} events counted")
        bench.book.note("counting CPU · the receiver", cost(receiver, EVENTS))
        bench.book.note("counting CPU · the worker, one handler", cost(worker, EVENTS))
    tally.take()


def cost(count: Callable[[Delivery], object], number: int) -> float:
    """Nanoseconds of CPU for each of so many events, without those of a call that does nothing."""
    some = _deliveries()
    repeats = number // len(some)
    spent = []
    for function in (_nothing, count):
        begun = time.thread_time_ns()
        for _ in range(repeats):
            for delivery in some:
                function(delivery)
        spent.append(time.thread_time_ns() - begun)
    return (spent[1] - spent[0]) / (repeats * len(some))


def receiver(one: Delivery) -> None:
    """What `Intake.accept_all` does to count; a test compares both."""
    deliveries = (one,)
    for delivery in deliveries:
        tally.latest[events.counted_as(delivery.event_type)] = delivery.received_us / 1_000_000


def worker(delivery: Delivery) -> float:
    """What `job.deliver`, `DeliveryRun` and `Recorder` do to count a first run of one handler that is done."""
    tally.to_start.observe(time.time() - delivery.received_us / 1_000_000)
    began, name = 0.0, HANDLER
    tally.run.observe(seconds := time.monotonic() - began, name)
    since = time.time() - delivery.received_us / 1_000_000
    for transition in _DONE:
        if transition.state != "retry":
            tally.to_done.observe(since, transition.handler)
    return seconds


def _nothing(_: Delivery) -> None: ...


def _deliveries() -> Sequence[Delivery]:
    """One of each type, accepted a moment ago, or a while."""
    now = time.time_ns() // 1000
    return [
        Delivery(f"{number:024x}", "event-id", f"e{number}", b"", now - 4**number * 1000, event.name, "", {}, b"")
        for number, event in enumerate(events.CATALOG)
    ]
