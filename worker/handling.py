"""Which handler runs in which task and thread, to name a handler that blocks the event loop or does not end."""

import asyncio
import sysconfig
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

Handling = tuple[str, str, float]
"""One run of a handler: handler, delivery, start (monotonic seconds). A plain tuple is the fastest to create."""

in_tasks: "dict[asyncio.Task[Any], Handling]" = {}
in_threads: dict[int, Handling] = {}
_current: ContextVar[Handling | None] = ContextVar("handling", default=None)


def begin(task: "asyncio.Task[Any]", handler: str, delivery: str) -> float:
    """Note what a task runs until `end`; threads that it uses inherit the note. Returns its start."""
    began = time.monotonic()
    in_tasks[task] = handling = (handler, delivery, began)
    _current.set(handling)
    return began


def end(task: "asyncio.Task[Any]") -> None:
    del in_tasks[task]


def about(handling: Handling) -> dict[str, str]:
    """The fields for a log line about a run."""
    return {"handler": handling[0], "delivery": handling[1]}


class Threads(ThreadPoolExecutor):
    """The threads for `asyncio.to_thread`, with a note of the handler that uses each.

    asyncio's default is six threads on two cores: a few calls that hang would block all other handlers.
    """

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        return super().submit(_run, _current.get(), fn, *args, **kwargs)


def _run(handling: Handling | None, fn: Any, *args: Any, **kwargs: Any) -> Any:
    if handling is None:
        return fn(*args, **kwargs)
    in_threads[threading.get_ident()] = handling
    try:
        return fn(*args, **kwargs)
    finally:
        del in_threads[threading.get_ident()]


def unfinished() -> list[Handling]:
    """The runs that have not ended, in tasks and in threads, each once."""
    return list(dict.fromkeys([*in_tasks.values(), *in_threads.values()]))


def where(frame: FrameType | None) -> str:
    """The innermost frame outside of Python and libraries, such as `/app/my_handlers.py:12 in notify`."""
    innermost = frame
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    frame = frame or innermost
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" if frame else "an unknown place"


def is_library(path: str) -> bool:
    return path.startswith(_LIBRARIES) or not Path(path).is_absolute()  # Cython's names are relative


_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
