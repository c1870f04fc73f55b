"""Which handlers an event goes to: a literal table, checked at start.

ROUTES: Routes = {
    "action.created": [notify],
    "work_order.completed": [update_erp],
    "*": [append_to_audit_log],          # every event, types not known yet included
}
"""

from collections.abc import Mapping, Sequence

from worker import route_problems
from worker.handler import Handler, Routes, name_of
from worker.order import Order, order_of
from worker.route_problems import EVERY_EVENT


class RouteTable:
    """The customer's routes. Raises `SettingsError` where `route_problems` finds any."""

    def __init__(self, routes: Routes) -> None:
        self.by_name = route_problems.named_handlers(routes)
        self._routes = routes
        self._every: Sequence[Handler] = list(dict.fromkeys(routes.get(EVERY_EVENT, ())))
        self._handlers: Mapping[str, Sequence[Handler]] = {
            key: list(dict.fromkeys([*handlers, *self._every])) for key, handlers in routes.items()
        }
        self.orders: Mapping[str, Order] = {
            name: order for name, handler in self.by_name.items() if (order := order_of(handler))
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
