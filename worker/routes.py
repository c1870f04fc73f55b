"""Which handlers an event goes to: a literal table, checked at start.

ROUTES: Routes = {
    "action.created": [notify],
    "work_order.completed": [update_erp],
    "*": [append_to_audit_log],          # every event, types not known yet included
}
"""

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from receiver.environment import SettingsError
from worker import route_problems
from worker.error_text import describe
from worker.handler import Handler, Routes, name_of
from worker.importing import at, imported
from worker.order import Order, order_of
from worker.route_problems import EVERY_EVENT


class RouteTable:
    """The customer's routes, checked: every type exists, every handler is a coroutine, every name is its own."""

    def __init__(self, routes: Routes) -> None:
        problems = [problem for key, handlers in routes.items() for problem in route_problems.problems(key, handlers)]
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
            problems += [f"HANDLERS: in_order({name}): {line}" for line in route_problems.order_problems(handler)]
        if problems:
            raise SettingsError(*dict.fromkeys(problems))
        self.by_name: Mapping[str, Handler] = by_name
        self._routes = routes
        self._every: Sequence[Handler] = list(dict.fromkeys(routes.get(EVERY_EVENT, ())))
        self._handlers: Mapping[str, Sequence[Handler]] = {
            key: list(dict.fromkeys([*handlers, *self._every])) for key, handlers in routes.items()
        }
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

    def handlers(self, event_type: str) -> Sequence[Handler]:
        """The handlers of a type and of every event, each once, in the table's order."""
        return self._handlers.get(event_type, self._every)

    @property
    def importable(self) -> Mapping[str, str]:
        """The module of each handler that can be imported from there by its name: for the tests that the kit writes."""
        return {
            name: handler.__module__
            for name, handler in self.by_name.items()
            if hasattr(sys.modules.get(handler.__module__), handler.__name__)
        }

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
            f"HANDLERS: {module.__name__!r} has no table {attribute!r}{route_problems.nearest(attribute, names)}; "
            "expected a dict from event type to a list of handlers"
        )
    return RouteTable(routes)


def configure(table: RouteTable) -> None:
    """Let the modules of the handlers look at their own settings. Raises `SettingsError`."""
    lines: list[str] = []
    for module in table.modules():
        try:
            getattr(module, "configure", lambda: None)()
        except SettingsError as error:
            lines += error.lines
        except Exception as error:  # noqa: BLE001 - whatever the customer's own check raises
            lines.append(f"HANDLERS: configure() failed{at(error)}: {describe(error)}")
    if lines:
        raise SettingsError(*lines)
