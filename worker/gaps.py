"""`python -m worker gaps`: events that must have been before another one, and were never seen.

Glartek offers no way to ask for a missed event, so all that can be told is that one is missing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from arq.utils import timestamp_ms
from redis.asyncio import Redis

from receiver.queue.keys import Keys
from receiver.visible import iso

BEFORE: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "work_order.completed": (("work_order.created",), ("work_order.started",)),
    "action.solved": (("action.created", "action.in_progress"),),
    "action.cant_do": (("action.created", "action.in_progress"),),
}
"""What must have been before an event: one type of each group, for the same Work Order or Action."""
TELLING = frozenset({*BEFORE, *(name for groups in BEFORE.values() for group in groups for name in group)})
"""The types that tell something of gaps."""
A_MINUTE = 60_000
"""Ms in which an event that was overtaken may still come."""
_PAGE = 5000


async def told(redis: Redis, keys: Keys, settle: float) -> dict[str, Any]:
    """The gaps in what is remembered, as `--json` has it; `settle` as for `gaps`."""
    marks: dict[str, int] = {}
    while page := await redis.execute_command("ZRANGE", keys.seen, len(marks), len(marks) + _PAGE - 1, "WITHSCORES"):
        marks |= {mark.decode(): int(at) for mark, at in zip(page[::2], page[1::2], strict=True)}
    return gaps(marks, timestamp_ms(), settle)


def gaps(marks: Mapping[str, int], now: int, settle: float) -> dict[str, Any]:
    """The gaps among marks: `<type> <subject's id>` and its time (ms).

    What came within `settle` seconds of the first mark may have begun before anything was remembered: it is counted as
    too early to tell.
    """
    since = min(marks.values(), default=now)
    ends = sorted((at, mark) for mark, at in marks.items() if mark.partition(" ")[0] in BEFORE)
    found, too_early = [], 0
    for at, mark in ends:
        event_type, _, subject = mark.partition(" ")
        missing = _missing(event_type, subject, marks)
        if not missing or now - at < A_MINUTE:
            continue
        if at - since < settle * 1000:
            too_early += 1
        else:
            kind = event_type.partition(".")[0]
            found.append({"subject": f"{kind}:{subject}", "type": event_type, "at": iso(at), "never_seen": missing})
    return {
        "remembered_since": iso(since) if marks else None,
        "judged": len(ends) - too_early,
        "too_early": too_early,
        "gaps": found,
    }


def _missing(event_type: str, subject: str, marks: Mapping[str, int]) -> list[str]:
    def seen(names: Iterable[str]) -> bool:
        return any(f"{name} {subject}" in marks for name in names)

    return [" or ".join(group) for group in BEFORE[event_type] if not seen(group)]
