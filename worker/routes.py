"""Which handlers an event goes to: a literal table, checked at start.

ROUTES: Routes = {
    "action.created": [notify],
    "work_order.completed": [update_erp],
    "*": [append_to_audit_log],          # every event, types not known yet included
}
"""

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from receiver import events
from receiver.environment import SettingsError
from worker.handler import Handler, Routes, name_of
from worker.order import Order, order_of
from worker.retries import describe
from worker.tracing import place, shown

EVERY_EVENT = "*"


class RouteTable:
    """The customer's routes, checked: every type exists, every handler is a coroutine, every name is its own."""

    def __init__(self, routes: Routes) -> None:
        problems = [problem for key, handlers in routes.items() for problem in _problems(key, handlers)]
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
        for name, handler in by_name.items():
            problems += [f"HANDLERS: in_order({name}): {line}" for line in _order_problems(handler)]
        if problems:
            raise SettingsError(*dict.fromkeys(problems))
        self.by_name: Mapping[str, Handler] = by_name
        self._routes = routes
        self.orders: Mapping[str, Order] = {
            name: order for name, handler in by_name.items() if (order := order_of(handler))
        }
        """What `in_order` was given, by handler."""

    @property
    def lines(self) -> Mapping[str, Mapping[str, str]]:
        """For each event type the handlers in order, and what each has a line for: subject or handler."""
        names = {key: [name_of(handler) for handler in handlers] for key, handlers in self._routes.items()}
        lines = {
            key: {name: self.orders[name].by for name in found if name in self.orders} for key, found in names.items()
        }
        return {key: handlers for key, handlers in lines.items() if handlers}

    def handlers(self, event_type: str) -> list[Handler]:
        """The handlers of a type and of every event, each once, in the table's order."""
        found = [*self._routes.get(event_type, ()), *self._routes.get(EVERY_EVENT, ())]
        return list(dict.fromkeys(found))

    def modules(self) -> list[ModuleType]:
        """The modules that the handlers come from."""
        return list(dict.fromkeys(sys.modules[handler.__module__] for handler in self.by_name.values()))


def load(spec: str) -> RouteTable:
    """The route table at `module:attribute`, its handlers' own settings checked.

    A handler's module may define `configure()`, called once here, which raises `SettingsError` for what it lacks.
    Raises `SettingsError` with one line for each mistake.
    """
    table = read(spec)
    configure(table)
    return table


def read(spec: str) -> RouteTable:
    """The same, without a look at the handlers' own settings."""
    module, attribute = imported(spec, "HANDLERS: expected module:attribute, such as acme.handlers:ROUTES")
    routes = getattr(module, attribute, None)
    if not isinstance(routes, Mapping):
        names = [
            name for name, value in vars(module).items() if isinstance(value, Mapping) and not name.startswith("_")
        ]
        raise SettingsError(
            f"HANDLERS: {module.__name__!r} has no table {attribute!r}{_nearest(attribute, names)}; "
            "expected a dict from event type to a list of handlers"
        )
    return RouteTable(routes)


def imported(spec: str, wanted: str) -> tuple[ModuleType, str]:
    """The module in `module:name`, and the name. Raises `SettingsError`, with what is `wanted` for another spec."""
    module_name, _, name = spec.partition(":")
    if not module_name or not name or module_name.startswith("."):
        raise SettingsError(f"{wanted}, got {spec!r}")
    try:
        return importlib.import_module(module_name), name
    except Exception as error:  # noqa: BLE001 - whatever the customer's module does when it is imported
        raise SettingsError(f"{wanted.partition(':')[0]}: {_import_failed(module_name, error)}") from None


def configure(table: RouteTable) -> None:
    """Let the modules of the handlers look at their own settings. Raises `SettingsError`."""
    lines: list[str] = []
    for module in table.modules():
        try:
            getattr(module, "configure", lambda: None)()
        except SettingsError as error:
            lines += error.lines
        except Exception as error:  # noqa: BLE001 - whatever the customer's own check raises
            lines.append(f"HANDLERS: configure() failed{_at(error)}: {describe(error)}")
    if lines:
        raise SettingsError(*lines)


def _import_failed(module: str, error: Exception) -> str:
    """Which line failed and what it lacks; the module itself may be what is not there."""
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        return (
            f"no module {module!r} here; set it to your own table, such as acme.handlers:ROUTES, "
            "and run from the folder that holds it"
        )
    if isinstance(error, SyntaxError) and error.filename:
        return f"{module!r} cannot be imported: {shown(error.filename)}:{error.lineno}: {error.msg}"
    if isinstance(error, ModuleNotFoundError):
        return f"{module!r} cannot be imported{_at(error)}: no module {error.name!r}; install it, or mend the name"
    return f"{module!r} cannot be imported{_at(error)}: {describe(error)}"


def _at(error: Exception) -> str:
    return f" at {where}" if (where := place(error)) else ""


def _problems(key: Any, handlers: Any) -> list[str]:
    problems = []
    if key != EVERY_EVENT and key not in events.BY_NAME:
        problems.append(f"HANDLERS: no event type {key!r}{_nearest(str(key), [*events.BY_NAME, EVERY_EVENT])}")
    if isinstance(handlers, str) or not isinstance(handlers, Sequence):
        return [*problems, f"HANDLERS: {key!r} expected a list of handlers, such as [notify]"]
    return problems + [
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


def _order_problems(handler: Handler) -> Iterable[str]:
    order = order_of(handler)
    return order.problems() if order else ()


def _is_coroutine_function(handler: Any) -> bool:
    """Whether it is one and has a name; for what `in_order` made, whether what it was made from is."""
    if inspect.isfunction(handler) and order_of(handler):
        handler = inspect.unwrap(handler)
    return inspect.iscoroutinefunction(handler) and hasattr(handler, "__name__")


def _nearest(word: str, possible: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, possible, n=3, cutoff=0.4) or list(possible)
    return f"; did you mean {', '.join(near)}?" if near else ""
