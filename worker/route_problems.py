"""What is wrong with a table of routes, in one line for each mistake: what was expected, what to do."""

import difflib
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from receiver import events
from worker.handler import Handler
from worker.order import order_of

EVERY_EVENT = "*"


def problems(key: Any, handlers: Any) -> list[str]:
    """Of one line of the table."""
    found = []
    if key != EVERY_EVENT and key not in events.BY_NAME:
        found.append(f"HANDLERS: no event type {key!r}{nearest(str(key), [*events.BY_NAME, EVERY_EVENT])}")
    if isinstance(handlers, str) or not isinstance(handlers, Sequence):
        return [*found, f"HANDLERS: {key!r} expected a list of handlers, such as [notify]"]
    return found + [
        f"HANDLERS: {key!r} has {getattr(handler, '__qualname__', handler)!r}, which {wrong}; "
        "write it as: async def handler(event, ctx)"
        for handler in handlers
        if (wrong := _wrong_with(handler))
    ]


def _wrong_with(handler: Any) -> str | None:
    if not _is_coroutine_function(handler):
        return "is not a coroutine function"
    try:
        inspect.signature(handler).bind("event", "ctx")
    except TypeError:
        return f"takes {inspect.signature(handler)}"
    return None


def order_problems(handler: Handler) -> Iterable[str]:
    """Of what `in_order` was given for a handler."""
    order = order_of(handler)
    return order.problems() if order else ()


def _is_coroutine_function(handler: Any) -> bool:
    """Whether it is one and has a name; for what `in_order` made, whether what it was made from is."""
    if inspect.isfunction(handler) and order_of(handler):
        handler = inspect.unwrap(handler)
    return inspect.iscoroutinefunction(handler) and hasattr(handler, "__name__")


def nearest(word: str, possible: Sequence[str]) -> str:
    """The question whether one of the possible words was meant."""
    near = difflib.get_close_matches(word, possible, n=3, cutoff=0.4) or list(possible)
    return f"; did you mean {', '.join(near)}?" if near else ""
