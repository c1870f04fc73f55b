"""Checks the effects of the real handlers: the content of the external system and of the audit log at the end."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from examples.handlers.audit_log import database
from examples.handlers.audit_log.verify import verify
from receiver.idempotency import delivery_id
from tests.faults.cluster import AUDIT_LOG, Cluster
from tests.faults.effects import Run
from tests.faults.handlers import NAMES

_, APPEND, UPDATE = NAMES


async def mistakes(cluster: Cluster, runs: Sequence[Run], work_orders: Mapping[str, tuple[str, str]]) -> list[str]:
    """Differences between these contents and what the handlers did according to their journals."""
    answer = await cluster.http.get(f"{cluster.sink_url}/recorded/external", timeout=20)
    engine = database.connect(f"sqlite:///{cluster.directory / AUDIT_LOG}")
    try:
        report = verify(database.rows(engine))
        rows = [row["event_id"] for row in database.rows(engine)]
    finally:
        engine.dispose()
    return [
        *in_external_system(answer.json(), _done(runs, UPDATE), work_orders),
        *(f"audit log: {problem.what}" for problem in report.problems),
        *in_audit_log(rows, _done(runs, APPEND)),
    ]


def _done(runs: Sequence[Run], handler: str) -> set[str]:
    """Events done or skipped; a skipped event is older than one that was done."""
    return {run.event for run in runs if run.handler == handler and run.how in {"done", "skipped"}}


def in_external_system(
    recorded: Mapping[str, Any], done: Iterable[str], work_orders: Mapping[str, tuple[str, str]]
) -> Iterator[str]:
    """Check that each Work Order has the state of its last event, and that each idempotency key was applied once."""
    last: dict[str, str] = {}
    keys = set()
    for event in done:
        if event in work_orders:
            work_order, time = work_orders[event]
            last[work_order] = max(last.get(work_order, ""), time)
            keys.add(f"{UPDATE}:{delivery_id('event-id', event)}")
    state = {name: fields["updated_at"] for name, fields in recorded["work_orders"].items()}
    for name in sorted(last.keys() | state.keys()):
        if last.get(name) != state.get(name):
            yield f"external system: {name} is of {state.get(name)}, its last event of {last.get(name)}"
    applied = Counter(request["idempotency_key"] for request in recorded["requests"] if request["applied"])
    yield from (f"external system: {key} was applied {count} times" for key, count in applied.items() if count > 1)
    yield from (f"external system: {key} is no event's key" for key in applied.keys() - keys)


def in_audit_log(rows: Iterable[str], done: set[str]) -> Iterator[str]:
    """Check that every appended event is there once, and no other."""
    counted = Counter(rows)
    yield from (f"audit log: {event} is there {count} times" for event, count in counted.items() if count > 1)
    yield from (f"audit log: {event} is not there" for event in sorted(done - counted.keys()))
    yield from (f"audit log: {event} was not done" for event in sorted(counted.keys() - done))
