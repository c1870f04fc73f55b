"""Writes what became of each handler of each delivery to Redis: outcomes, retry jobs, dead letters.

Writes go through `record.lua`, which ignores what was already recorded or overtaken, so that a write whose reply was
lost is simply sent again; in the usual case, `first_row`, with the end of the job's claim. Writes that happen together
travel together.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgpack
from arq.connections import ArqRedis
from arq.utils import timestamp_ms

from receiver import events
from receiver.delivery import Delivery
from receiver.queue import letters
from receiver.queue.batching import Batcher
from receiver.queue.connection import until_redis_answers
from receiver.queue.jobs import job_key, pack_batch
from receiver.queue.keys import Keys
from receiver.queue.scripts import Script, Value
from receiver.settings import Settings
from receiver.sources import is_by_content
from worker.lines import Lines
from worker.order import Order
from worker.transitions import PARSE, Transition

JOB_BYTES = 300
"""About what a job takes in Redis besides the body."""
_RECORD = Script.load("record.lua")


class Keep(NamedTuple):
    """How long finished deliveries' payloads are kept for a replay, and how many bytes of them at most."""

    seconds: float
    bytes: int


_packer = msgpack.Packer(use_bin_type=False)  # shared, because each one allocates a buffer


class Outcomes:
    """The records of deliveries, as workers write them."""

    def __init__(
        self,
        redis: ArqRedis,
        keys: Keys,
        settings: Settings,
        keep: Keep,
        orders: Mapping[str, Order] = MappingProxyType({}),
    ) -> None:
        self._redis, self.keys = redis, keys
        self.lines = Lines(redis, keys, orders)
        self._window = round(settings.dedupe_window * 1000)
        self._window_by_content = round(settings.dedupe_window_body * 1000)
        self._keep_ms = round(keep.seconds * 1000) if keep.bytes else 0
        self._keep_bytes = keep.bytes
        self._batcher: Batcher[bytes, bool] = Batcher(self._send)

    async def record(
        self, delivery: Delivery, job_id: str, transitions: Sequence[Transition], *, routed: bool = True
    ) -> None:
        """Write transitions; `routed` says that no other handler of this delivery is still to be heard of.

        Returns when they are in Redis, however long that takes.
        """
        size = len(delivery.body) + JOB_BYTES
        item: bytes = _packer.pack(
            (
                delivery.id,
                delivery.received_us // 1000,
                self._window_ms(delivery),
                self._keep_ms,
                job_key(job_id),
                int(routed),
                [self._row(delivery, transition) for transition in transitions],
                size,
                self._kept_entry(delivery, size),
                events.counted_as(delivery.event_type),
            )
        )
        await self._batcher.add(item, len(item))

    def first_row(self, delivery: Delivery, transitions: Sequence[Transition]) -> Sequence[Any] | None:
        """What finish.lua takes where all handlers succeeded in a delivery's first run; None for anything else.

        A handler in order has more to write: its line and its pace.
        """
        for one in transitions:
            if one.state != "done" or one.handler in self.lines:
                return None
        if not transitions:
            return None
        size = len(delivery.body) + JOB_BYTES
        return (
            delivery.id,
            delivery.received_us // 1000,
            self._window_ms(delivery),
            self._keep_ms,
            [one.handler for one in transitions],
            size,
            self._kept_entry(delivery, size),
            self._keep_bytes,
            events.counted_as(delivery.event_type),
        )

    def _window_ms(self, delivery: Delivery) -> int:
        """How long a closed record is remembered."""
        return self._window_by_content if is_by_content(delivery.source) else self._window

    def _kept_entry(self, delivery: Delivery, size: int) -> str:
        """A finished delivery's entry in the list of kept payloads."""
        return f"{delivery.id} {size} {timestamp_ms() + self._keep_ms}"

    async def stop(self) -> None:
        """Let writes under way come to their end; what Redis does not take in time is repeated by the next worker."""
        await self._batcher.stop(0.5)

    async def recorded(self, delivery_id: str) -> Mapping[str, tuple[str, int]]:
        """(state, attempt) of each handler that has any, for a job that was started before."""
        fields = await until_redis_answers(
            lambda: self._redis.execute_command("HGETALL", self.keys.delivery(delivery_id))
        )
        return states({name.decode(): value.decode() for name, value in fields.items() if b"." in name})

    async def _send(self, items: Sequence[bytes]) -> list[bool]:
        keys = [self.keys.queue, self.keys.wake, self.keys.counts, self.keys.dead]
        arguments: list[Value] = [self.keys.prefix, pack_batch(items), self._keep_bytes]
        return [bool(closed) for closed in await until_redis_answers(lambda: _RECORD(self._redis, keys, arguments))]

    def _row(self, delivery: Delivery, transition: Transition) -> dict[str, Any]:
        row: dict[str, Any] = {
            "handler": transition.handler,
            "attempt": transition.attempt,
            "state": transition.state,
        }
        if transition.error:
            row["error"] = transition.error
        if transition.trace:
            row["trace"] = transition.trace
        if transition.state == "retry":
            # one id for each attempt: never used twice, because arq deletes a job by its id
            job_id = self.keys.retry_job_id(delivery.id, transition.handler, transition.attempt)
            row |= {"job": transition.job, "job_id": job_id, "job_key": job_key(job_id)}
            row |= {"wait_ms": round(transition.wait * 1000), "class": transition.counted_as}
        elif transition.state == "dead":
            dead_id = dead_letter_id(delivery.id, transition.handler)
            row["field"], row["job"] = letters.pack(transition.job)
            row |= {"dead_id": dead_id, "dead_key": self.keys.dead_letter(dead_id), "about": about(delivery)}
            row["class"] = transition.counted_as
        return row | self._in_order(delivery, transition) if self.lines else row

    def _in_order(self, delivery: Delivery, transition: Transition) -> dict[str, Any]:
        if transition.handler == PARSE:  # it may stand in any line, and will never come
            return self.lines.leaves_all(delivery)
        is_dead = transition.state == "dead"
        row = self.lines.row(delivery, transition.handler, transition.start, is_dead=is_dead)
        return row | {"leaves": True} if transition.leaves else row


def about(delivery: Delivery) -> list[str]:
    """What a dead letter says of its delivery: names and values in turn; record.lua reads the last."""
    accepted = str(delivery.received_us)
    return ["delivery", delivery.id, "type", delivery.event_type, "key", delivery.key, "source", delivery.source,
            "accepted", accepted]  # fmt: skip


def dead_letter_id(delivery_id: str, handler: str) -> str:
    return f"{delivery_id}:{handler}"


def states(fields: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """(state, attempt) by handler, from the handler fields of a record."""
    parts = {handler: value.split(" ") for handler, value in fields.items()}
    return {handler: (state, int(attempt)) for handler, (state, attempt, *_) in parts.items()}
