"""Whose turn it is at the handlers in order: their lines and their pace, in Redis (`worker/order.py` says what for)."""

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from arq.connections import ArqRedis

from receiver.delivery import Delivery
from receiver.queue.connection import until_redis_answers
from receiver.queue.keys import Keys
from receiver.queue.scripts import Script, Value
from worker.order import Order

_TURN = Script.load("turn.lua")


class Turn(NamedTuple):
    """A handler may run now, unless there is a `wait` (in seconds). `start` is the token under which this is noted."""

    wait: float = 0.0
    start: str = ""


_AT_ONCE = Turn()


class Lines:
    """The lines of the handlers that have an `Order`; all other handlers take events as they come."""

    def __init__(self, redis: ArqRedis, keys: Keys, orders: Mapping[str, Order]) -> None:
        self._redis, self._keys, self._orders = redis, keys, orders

    def __bool__(self) -> bool:
        return bool(self._orders)

    def __contains__(self, handler: str) -> bool:
        return handler in self._orders

    async def turn(self, delivery: Delivery, handler: str) -> Turn:
        """Whether a handler may have this delivery now; only one in order may have to wait."""
        order = self._orders.get(handler)
        if order is None:
            return _AT_ONCE
        token, keys = uuid.uuid4().hex, self._keys
        line = self._line(delivery, handler) or keys.line(handler, "")  # a line that is always empty
        letters_held = keys.dead_letter("") if order.holds else ""
        arguments: list[Value] = [delivery.id, handler, token, keys.delivery(""), letters_held, *order.limits()]
        where = [line, keys.pace(handler), keys.queue, keys.wake]
        wait_ms = await until_redis_answers(lambda: _TURN(self._redis, where, arguments))
        return Turn(wait_ms / 1000, token)

    def lets_pass(self, handler: str, tries: int) -> bool:
        """Whether an event at which a handler has failed so often does not hold up the others any more."""
        order = self._orders.get(handler)
        return order is not None and 0 < order.failures <= tries

    def row(self, delivery: Delivery, handler: str, start: str, *, is_dead: bool) -> dict[str, Any]:
        """What `record.lua` needs to know of a handler's line; `start` is the token of its turn."""
        order = self._orders.get(handler)
        if order is None:
            return {}
        row: dict[str, Any] = {}
        if line := self._line(delivery, handler):
            row |= {"line": line, "holds": order.holds and is_dead}
        if rate := order.limits():
            row |= {"pace": self._keys.pace(handler), "rate": rate}
        if start and rate and order.by == "handler":  # one at a time: only this one can have been slow
            row["start"] = start
        return row

    def leaves_all(self, delivery: Delivery) -> dict[str, Any]:
        """The same for a delivery that no handler will ever have."""
        lines = [(name, line) for name in self._orders if (line := self._line(delivery, name))]
        return {"lines": [part for pair in lines for part in pair]} if lines else {}

    def _line(self, delivery: Delivery, handler: str) -> str | None:
        """The line that a delivery stands in; None when it is not held back."""
        order = self._orders.get(handler)
        if order is not None and order.by == "handler":
            return self._keys.line(handler)
        return self._keys.line(handler, delivery.subject) if order is not None and delivery.subject else None
