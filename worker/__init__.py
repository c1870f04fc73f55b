"""Queue out, handlers in: what happens to a delivery after its 200.

    arq queue ══▶ job ─▶ event ─▶ routes ─▶ handler ─▶ outcome: done, skipped, retry or dead letter

What a handler needs is imported from here, and so is what its own settings need. This package imports `receiver`, and
loads handlers by name (`HANDLERS="module:attribute"`), so that it never imports `examples`.
"""

from receiver.environment import EnvSettings, Seconds, SettingsError, Words, load
from worker.event import Event, Subject
from worker.handler import Context, GiveUp, Handler, RetryLater, Routes, Skip, ordered
from worker.views import Action, WorkOrder

__all__ = [
    "Action",
    "Context",
    "EnvSettings",
    "Event",
    "GiveUp",
    "Handler",
    "RetryLater",
    "Routes",
    "Seconds",
    "SettingsError",
    "Skip",
    "Subject",
    "Words",
    "WorkOrder",
    "load",
    "ordered",
]
