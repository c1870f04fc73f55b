"""The handlers that the bench gives to the worker: three that do nothing, and one that notes when it started."""

import os
import time
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from worker import Context, Event, Routes


async def first(event: Event, ctx: Context) -> None:
    """Do nothing: what is left is the kit's own cost."""


async def second(event: Event, ctx: Context) -> None:
    """Do nothing."""


async def third(event: Event, ctx: Context) -> None:
    """Do nothing."""


async def started(event: Event, _: Context) -> None:
    note_start(event.payload)


def note_start(payload: dict[str, Any]) -> None:
    """Write the nanoseconds since the event was due to be sent, where JOURNAL asks for it."""
    now = time.time_ns()
    if journal := _journal():
        journal.write(f"{now - payload['due_ns']}\n")


@cache
def _journal() -> TextIO | None:
    path = os.environ.get("JOURNAL")
    return Path(path).open("a", buffering=1, encoding="ascii") if path else None


ONE: Routes = {"*": [first]}
THREE: Routes = {"*": [first, second, third]}
STARTED: Routes = {"*": [started]}
