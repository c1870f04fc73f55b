"""Who changed what, and why: a line of the log, and a row of the audit log where its handler is routed.

The row is an event of the kit's own, `operator.replay` for example, for that one handler alone: it is no delivery, so
that nobody's `"*"` gets it, and it is tried again and becomes a dead letter like everything that this handler does.
"""

import getpass
import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog
from redis.asyncio import Redis

from receiver.figures import read as read_figures
from receiver.idempotency import IdempotencyRule
from receiver.queue.keys import Keys
from worker.dead_letters import Operator

AUDIT = "audit_log.append"
"""The handler that gets them: the example's, or one of your own by this name."""
_SOURCES = IdempotencyRule(("event-id",))
log = structlog.get_logger()


class Change(NamedTuple):
    """What somebody does: `verb` is replay, drop or note, `which` are the events meant, in words.

    `through` is the console or a command; `more` is how far it came, for the log and the row.
    """

    verb: str
    who: str
    reason: str
    which: str
    through: str

    async def tell(self, redis: Any, keys: Keys, **more: Any) -> None:
        """Log it, and give it to the audit log where some worker has that. Raises one of `REDIS_ERRORS`."""
        if self.through == "console":  # a command tells on its terminal
            log.info("console: change", **self._asdict() | more)
        if await _is_audited(redis, keys):
            await Operator(redis, keys).run_alone(_SOURCES.delivery({}, self._body(more), _now_us()), AUDIT)

    def _body(self, more: dict[str, Any]) -> bytes:
        told = self._asdict() | more
        about = {
            "id": f"operator-{uuid.uuid4()}",
            "type": f"operator.{told.pop('verb')}",
            "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "actor": {"name": told.pop("who")},
        }
        return json.dumps(about | told, ensure_ascii=False).encode("utf-8", "backslashreplace")


def user() -> str:
    """Who runs this command, as far as the system knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"


async def _is_audited(redis: Redis, keys: Keys) -> bool:
    """Whether a worker has the handler; where none runs, whether one had it."""
    figures = await read_figures(redis, keys)
    if figures.alive("worker"):
        return AUDIT in figures.handlers()
    return f"{AUDIT} done" in figures.counts


def _now_us() -> int:
    return time.time_ns() // 1000
