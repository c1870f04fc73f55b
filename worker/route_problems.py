"""What is wrong with a table of routes, in one line for each mistake: what was expected, what to do."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from receiver import events
from receiver.environment import SettingsError
from receiver.nearest import nearest
from worker.handler import Handler, Routes, name_of
from worker.order import order_of

EVERY_EVENT = "*"


def named_handlers(routes: Routes) -> Mapping[str, Handler]:
    """The handlers by name, once every type exists, and every handler is a coroutine, once in a list, and the only one
    of its name.

    Raises `SettingsError` with one line for each mistake.
    """
    problems = [problem for key, handlers in routes.items() for problem in _line_problems(key, handlers)]
    if problems:  # handlers that are none have no name to compare
        raise SettingsError(*dict.fromkeys(problems))
    by_name: dict[str, Handler] = {}
    for handler in (handler for handlers in routes.values() for handler in handlers):
        other = by_name.setdefault(name_of(handler), handler)
        if other != handler:  # bound methods are equal, not the same
            problems.append(
                f"HANDLERS: two handlers are named {name_of(handler)}; rename one, or use in_order() in "
                "every route of it, with the same arguments"
            )
    problems += [
        f"HANDLERS: {key!r} has {name_of(handler)} twice, which runs once for an event; take one away"
        for key, handlers in routes.items()
        for handler in dict.fromkeys(handlers)
        if list(handlers).count(handler) > 1
    ]
    for name, handler in by_name.items():
        if order := order_of(handler):
            problems += [f"HANDLERS: in_order({name}): {line}" for line in order.problems()]
    if problems:
        raise SettingsError(*dict.fromkeys(problems))
    return by_name


def _line_problems(key: Any, handlers: Any) -> list[str]:
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


def _is_coroutine_function(handler: Any) -> bool:
    """Whether it is a coroutine function with a name; of a handler from `in_order`, the original one decides."""
    if inspect.isfunction(handler) and order_of(handler):
        handler = inspect.unwrap(handler)
    return inspect.iscoroutinefunction(handler) and hasattr(handler, "__name__")
