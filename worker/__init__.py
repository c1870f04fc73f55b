"""What happens to a delivery after its 200: a worker claims its job and runs the handlers.

    arq queue ══▶ job ─▶ event ─▶ routes ─▶ handler ─▶ outcome: done, skipped, retry or dead letter

What a handler needs is imported from here, and so is what its own settings need. This package imports `receiver`, and
loads handlers by name (`HANDLERS="module:attribute"`), so that it never imports `examples`.
"""

from receiver import events, retry_after
from receiver.alerts import teams as teams_workflow
from receiver.environment import EnvSettings, Seconds, SettingsError, Words, load
from receiver.events import times
from receiver.events.payload_map import PayloadMap
from receiver.queue.batching import Batcher
from receiver.settings import Settings
from receiver.visible import to_json
from worker.event import Event, Subject, parse
from worker.handler import Context, GiveUp, Handler, RetryLater, Routes, Skip
from worker.masking import Mask, masked
from worker.order import in_order
from worker.views import Action, Attachment, Ref, WorkOrder

__all__ = [
    "Action",
    "Attachment",
    "Batcher",
    "Context",
    "EnvSettings",
    "Event",
    "GiveUp",
    "Handler",
    "Mask",
    "PayloadMap",
    "Ref",
    "RetryLater",
    "Routes",
    "Seconds",
    "Settings",
    "SettingsError",
    "Skip",
    "Subject",
    "Words",
    "WorkOrder",
    "events",
    "in_order",
    "load",
    "masked",
    "parse",
    "retry_after",
    "teams_workflow",
    "times",
    "to_json",
]
