"""What a worker notes of events in passing, for `python -m worker gaps` and `drift`.

Handling an event costs two entries in dictionaries; every few seconds they go to Redis, in plain, repeatable writes.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgpack
from arq.utils import timestamp_ms
from redis.asyncio import Redis

from receiver import content
from receiver.events.candidates import leaves
from receiver.events.paths import storable
from receiver.events.payload_map import PayloadMap
from receiver.events.redaction import Redaction
from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.keys import Keys
from receiver.queue.scripts import Script
from receiver.visible import visible
from worker.event import Event
from worker.gaps import TELLING

SECONDS = 5.0
"""Between two writes; of each type one event is looked at in this time."""
MOST_MARKS = 100_000
"""Types of Work Orders and Actions that are remembered, 130 bytes each, in Redis; and that wait to be written."""
TOGETHER = 1000
"""Marks in one call."""
MOST_TYPES, MOST_FIELDS = 40, 300
"""Types whose fields are remembered, and fields of each."""
LARGEST = 64 * 1024
"""Characters of the longest event whose fields are looked at."""
LONGEST = 80
"""Characters of an example."""
_FIELDS = Script.load("fields.lua")
_ITEM = re.compile(r"(^|\.)\d+(?=\.|$)")


class Sample(NamedTuple):
    """An event's text, which no handler can change, and where its fields are."""

    raw: str
    where: PayloadMap


class Sightings:
    """What was noted and is not written yet. `seconds` is how long it is remembered; 0 for not at all."""

    def __init__(self, redis: Redis, keys: Keys, seconds: float) -> None:
        self._redis, self._keys, self._ms = redis, keys, round(seconds * 1000)
        self._marks: dict[str, int] = {}
        self._samples: dict[str, Sample] = {}

    def see(self, event: Event, received_us: int) -> None:
        """Note an event: a microsecond at most, because this is on every event's way."""
        if not self._ms:
            return
        kind = event.type
        if kind in TELLING and event.subject is not None and len(self._marks) < MOST_MARKS:
            self._marks[f"{kind} {event.subject.id}"] = received_us // 1000
        if kind not in self._samples and len(self._samples) < MOST_TYPES and len(event.raw) <= LARGEST:
            self._samples[kind] = Sample(event.raw, event.where)

    async def run(self) -> None:
        """Write what was noted, every few seconds until cancelled."""
        while True:
            await asyncio.sleep(SECONDS)
            with suppress(*REDIS_ERRORS):  # what is not written yet waits
                await self.write()

    async def stop(self) -> None:
        """Write the rest, unless that takes long."""
        with suppress(*REDIS_ERRORS):
            async with asyncio.timeout(0.5):
                await self.write()

    async def write(self) -> None:
        """Write what was noted; marks that could not be written wait for the next time."""
        left, self._marks = list(self._marks.items()), {}
        try:
            while left:
                await self._remember(self._keys.seen, dict(left[:TOGETHER]), MOST_MARKS)
                del left[:TOGETHER]
        finally:
            if left:
                self._marks = dict(left) | self._marks
        for event_type in list(self._samples):
            await self._count_fields(event_type, self._samples.pop(event_type))

    async def _remember(self, name: str, members: Mapping[str, int], most: int, *, renew: bool = False) -> list[bytes]:
        """Add members with their times, and take out what is too old or too much: a first time stays unless renewed."""
        pairs: list[str | int] = [part for member, at in members.items() for part in (at, member)]
        await self._redis.execute_command("ZADD", name, *([] if renew else ["NX"]), *pairs)
        surplus = await self._redis.execute_command("ZCARD", name) - most
        gone: list[bytes] = await self._redis.execute_command("ZRANGE", name, 0, surplus - 1) if surplus > 0 else []
        oldest = timestamp_ms() - self._ms
        gone += await self._redis.execute_command("ZRANGEBYSCORE", name, "-inf", oldest, "LIMIT", 0, 1000)
        if gone:
            await self._redis.execute_command("ZREM", name, *gone)
        await self._redis.execute_command("PEXPIRE", name, self._ms)
        return gone

    async def _count_fields(self, event_type: str, sample: Sample) -> None:
        """Count the fields of one event, with a redacted example of those that are new."""
        payload, _ = content.read({}, sample.raw.encode(), 1 << 20)
        paths = _by_path(payload)
        gone = await self._remember(self._keys.types, {event_type: timestamp_ms()}, MOST_TYPES, renew=True)
        if gone:
            await self._redis.execute_command("DEL", *(self._keys.fields(name.decode()) for name in gone))
        arguments = [msgpack.packb(list(paths)), MOST_FIELDS, self._ms]
        name = self._keys.fields(event_type)
        if new := await _FIELDS(self._redis, [name], arguments):
            await self._add_examples(name, [path.decode() for path in new], payload, sample.where)

    async def _add_examples(self, name: str, paths: Sequence[str], payload: Any, where: PayloadMap) -> None:
        redacted = _by_path(Redaction(where).value(payload, ""))
        shown = [
            part for path in paths if path in redacted for part in (f"={path}", visible(str(redacted[path]), LONGEST))
        ]
        if shown:
            await self._redis.execute_command("HSET", name, *shown)


def _by_path(payload: Any) -> dict[str, Any]:
    """A value by each path of a payload, the items of a list as one; no more than are remembered."""
    found: dict[str, Any] = {}
    for path, value in leaves(payload).items():
        if len(found) < MOST_FIELDS:
            found.setdefault(storable(_ITEM.sub(r"\1[]", path)[:200]), value)
    return found
