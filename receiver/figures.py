"""Everything that is measured, as Redis holds it at one moment: what `/metrics` is made from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from receiver.queue.keys import Keys
from receiver.queue.scripts import Script

ALIVE = 15.0
"""Seconds without a report after which a process is taken for dead; they report every second."""
_FIGURES = Script.load("figures.lua")


class Process(NamedTuple):
    """What a process of the kit said of itself `age` seconds ago."""

    age: float
    told: Mapping[str, Any]

    @property
    def is_alive(self) -> bool:
        return self.age <= ALIVE


class Memory(NamedTuple):
    """Bytes of Redis; `most` is 0 where it has no limit."""

    used: int
    most: int


@dataclass(frozen=True, slots=True)
class Figures:
    """`now` is Redis's time (Unix s), `oldest_ready` an age (s); `memory` is None where Redis does not tell.

    `metrics` and `counts` are the hashes of these names (`receiver/queue/keys.py`).
    """

    now: float
    ready: int
    waiting: int
    oldest_ready: float
    running: int
    dead: int
    metrics: Mapping[str, int]
    counts: Mapping[str, int]
    processes: tuple[Process, ...]
    memory: Memory | None

    def alive(self, kind: str) -> list[Process]:
        """The processes of a kind that live."""
        return [process for process in self.processes if process.is_alive and process.told["kind"] == kind]

    def handlers(self) -> set[str]:
        """The handlers of workers that live."""
        return {name for process in self.alive("worker") for name in process.told["handlers"]}

    def module_of(self, handler: str) -> str | None:
        """Where a handler of a worker that lives can be imported from; None where no worker tells."""
        told = (process.told.get("modules", {}) for process in self.alive("worker"))  # an older version does not
        return next((modules[handler] for modules in told if handler in modules), None)


async def read(redis: Redis, keys: Keys) -> Figures:
    """The figures of now. Raises one of `REDIS_ERRORS`."""
    names = [keys.metrics, keys.counts, keys.processes, keys.queue, keys.leases, keys.dead]
    now, ready, waiting, age, running, dead, metrics, counts, processes = await _FIGURES(redis, names)
    return Figures(
        now=now / 1000,
        ready=ready,
        waiting=waiting,
        oldest_ready=age / 1000,
        running=running,
        dead=dead,
        metrics=_numbers(metrics),
        counts=_numbers(counts),
        processes=tuple(_process(told, now) for told in processes[1::2]),
        memory=await _memory(redis),
    )


async def _memory(redis: Redis) -> Memory | None:
    try:
        told = await redis.info("memory")
    except ResponseError:  # not allowed, as on some managed services
        return None
    return Memory(int(told["used_memory"]), int(told.get("maxmemory", 0)))


def _numbers(flat: list[bytes]) -> dict[str, int]:
    return {field.decode(): int(value) for field, value in zip(flat[::2], flat[1::2], strict=True)}


def _process(told: bytes, now: int) -> Process:
    at, _, about = told.split(b" ", 2)
    return Process((now - int(at)) / 1000, json.loads(about))
