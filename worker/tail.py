"""What happens now, line by line: deliveries that are accepted, and what becomes of each of their handlers.

It reads what is in Redis anyway, twice a second, and costs receivers and workers nothing. It follows a delivery until
all of its handlers have ended, the newest `MOST` of them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from arq.connections import ArqRedis

from receiver.queue.jobs import unpack
from receiver.queue.keys import Keys
from worker.transitions import PARSE

EVERY = 0.5
"""Seconds between two looks."""
MOST = 500
"""Deliveries that are followed at once; as many may arrive between two looks."""
Line = dict[str, Any]
_COUNTED = {"n": "duplicate", "c": "conflict"}


class Tail:
    """Follows one system's deliveries; the first `look` begins with those accepted after it."""

    def __init__(self, redis: ArqRedis, keys: Keys) -> None:
        self._redis, self._keys = redis, keys
        self._last: bytes | None = None
        self._followed: dict[str, dict[str, str]] = {}
        """By delivery, what of its record was told already."""

    async def look(self) -> list[Line]:
        """What has happened since the last look, in order of time. Raises one of `REDIS_ERRORS`."""
        recent: list[bytes] = await self._redis.execute_command("LRANGE", self._keys.recent, -MOST, -1)
        is_first, last = self._last is None, self._last
        self._last = recent[-1] if recent else b""
        lines: list[Line] = []
        if not is_first:
            new = recent[recent.index(last) + 1 :] if last in recent else recent
            if last and last not in recent:
                lines.append(_line("", "missed", reason=f"more than {MOST} were accepted since the last look"))
            prefix = self._keys.delivery("")
            self._followed |= {record.decode().removeprefix(prefix): {} for record in new}
        for old in list(self._followed)[:-MOST]:
            del self._followed[old]
        return lines + sorted(await self._changes(), key=lambda line: str(line["at"]))

    async def _changes(self) -> list[Line]:
        names = list(self._followed)
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(self._keys.delivery(name))
            records = await pipe.execute()
        lines = []
        for name, record in zip(names, records, strict=True):
            fields = {field.decode(): value for field, value in record.items()}
            lines += await self._changes_of(name, fields)
            if not _is_open(fields):
                del self._followed[name]
        return lines

    async def _changes_of(self, name: str, fields: Mapping[str, bytes]) -> list[Line]:
        told, lines = self._followed[name], []
        event_type, accepted = fields.get("t", b"").decode(), int(fields.get("a", 0)) / 1_000_000
        if fields and not told:
            lines.append(_line(name, "accepted", event_type, at=accepted, key=fields.get("k", b"").decode()))
            told["t"] = event_type
        for field, what in _COUNTED.items():
            if field in fields and told.get(field) != (count := fields[field].decode()):
                told[field] = count
                lines.append(_line(name, what, event_type, count=int(count)))
        ended = [field for field in fields if "." in field or field == PARSE]
        for handler in [one for one in ended if told.get(one) != fields[one].decode()]:
            told[handler] = fields[handler].decode()
            state, attempt, ms = told[handler].split(" ")[:3]
            at = accepted + float(ms) / 1000
            if attempt != "0":  # else it waits for its turn
                reason = "" if state == "done" else await self._reason(name, handler, int(attempt))
                more = {"handler": handler, "attempt": int(attempt), "ms": round(float(ms)), "reason": reason}
                lines.append(_line(name, state, event_type, at=at, **more))
        return lines

    async def _reason(self, name: str, handler: str, attempt: int) -> str:
        attempts = await self._redis.execute_command("LRANGE", self._keys.attempts(name), 0, -1)
        found = [unpack(one) for one in attempts]
        return next((why for who, number, _, _, why in found if (who, number) == (handler, attempt)), "")


def _is_open(fields: Mapping[str, bytes]) -> bool:
    states = [value for field, value in fields.items() if "." in field]
    return bool(fields) and ("u" in fields or any(value.startswith(b"retry ") for value in states))


def _line(delivery: str, what: str, event_type: str = "", at: float | None = None, **more: Any) -> Line:
    when = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return {
        "at": when.isoformat(timespec="milliseconds"),
        "what": what,
        "delivery": delivery,
        "type": event_type,
        **more,
    }
