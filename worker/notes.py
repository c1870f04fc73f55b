"""What people note of a group of dead letters: what it is, and who looks after it. It stays when the group is gone.

A group is an error of a handler, so the note is there again when the same error comes back.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from arq.connections import ArqRedis

from receiver.queue.keys import Keys

MOST = 1000
"""Notes that are kept; the oldest go."""
LONGEST, LONGEST_OWNER = 1000, 60


class Note(NamedTuple):
    """`text` and `owner` are free; `by` wrote it `at` a time (ISO 8601)."""

    text: str
    owner: str
    by: str
    at: str


async def read(redis: ArqRedis, keys: Keys, groups: Iterable[str]) -> dict[str, Note]:
    """The notes of those of these groups that have one."""
    names = list(groups)
    held = await redis.execute_command("HMGET", keys.notes, *names) if names else []
    return {name: Note(*json.loads(value)) for name, value in zip(names, held, strict=True) if value}


async def write(redis: ArqRedis, keys: Keys, group: str, text: str, owner: str, by: str) -> None:
    """Set a group's note; without text and owner it has none."""
    text, owner = text.strip()[:LONGEST], owner.strip()[:LONGEST_OWNER]
    if not text and not owner:
        await redis.execute_command("HDEL", keys.notes, group)
        return
    note = Note(text, owner, by, datetime.now(UTC).isoformat(timespec="microseconds"))
    await redis.execute_command("HSET", keys.notes, group, json.dumps(note))
    held = await redis.execute_command("HGETALL", keys.notes)
    by_age = sorted(held, key=lambda name: json.loads(held[name])[3])
    if surplus := by_age[: max(0, len(held) - MOST)]:
        await redis.execute_command("HDEL", keys.notes, *surplus)
