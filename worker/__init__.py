"""Queue out, handlers in: what happens to a delivery after its 200.

    arq queue ══▶ job ─▶ event ─▶ routes ─▶ handler ─▶ outcome: done, skipped, retry or dead letter

What a handler needs is imported from here. This package imports `receiver`, and loads handlers by name
(`HANDLERS="module:attribute"`), so that it never imports `examples`.
"""

from worker.event import Action, Event, Subject, WorkOrder
from worker.routes import Context, GiveUp, Handler, RetryLater, Routes, Skip, ordered

__all__ = [
    "Action",
    "Context",
    "Event",
    "GiveUp",
    "Handler",
    "RetryLater",
    "Routes",
    "Skip",
    "Subject",
    "WorkOrder",
    "ordered",
]
