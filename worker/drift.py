"""`python -m worker drift`: fields of the sender's payloads that have appeared or vanished.

Of each type a worker looks at one event every few seconds, and all of them share one count of the fields. A field has
appeared when a number of samples had come before it, and has vanished when it was in nearly all of them until then.
"""

from collections.abc import Mapping
from typing import Any

from arq.utils import timestamp_ms
from redis.asyncio import Redis

from receiver.queue.keys import Keys
from receiver.visible import iso

LEAST = 20
"""Samples without a field before it appeared, or since it vanished."""
REGULAR = 0.8
"""The share of samples that a field was in, if it counts as vanished."""


async def told(redis: Redis, keys: Keys, last: float) -> list[dict[str, Any]]:
    """What has changed in the `last` seconds, by type, as `--json` has it."""
    since = timestamp_ms() - round(last * 1000)
    found = []
    for name in sorted(await redis.execute_command("ZRANGE", keys.types, 0, -1)):
        fields = await redis.execute_command("HGETALL", keys.fields(name.decode()))
        if fields:
            by_name = {field.decode(): value.decode() for field, value in fields.items()}
            found.append({"type": name.decode(), **changes(by_name, since)})
    return found


def changes(fields: Mapping[str, str], since: int) -> dict[str, Any]:
    """What has appeared and vanished after `since` (Unix ms) among the fields of one type, as `fields.lua` counts."""
    samples = int(fields["samples"])
    appeared, vanished = [], []
    for name, value in sorted(fields.items()):
        if not name.startswith("."):
            continue
        first, last, count, first_ms, last_ms = map(int, value.split(" "))
        about = {"path": name[1:], "example": fields.get(f"={name[1:]}", ""), "in": count}
        if first > LEAST and first_ms > since:
            appeared.append(about | {"at": iso(first_ms), "of": samples - first + 1})
        if samples - last >= LEAST and count >= REGULAR * (last - first + 1) and last_ms > since:
            vanished.append(about | {"at": iso(last_ms), "of": last - first + 1})
    return {
        "samples": samples,
        "since": iso(int(fields["since"])),
        "fields": int(fields["known"]),
        "appeared": appeared,
        "vanished": vanished,
    }
