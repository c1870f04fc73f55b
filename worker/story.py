"""What is known of a delivery, for `show`, the console and the tests."""

import re
from collections.abc import Mapping
from typing import Any

from redis.exceptions import NoPermissionError

from receiver.idempotency import IdempotencyRule, delivery_id
from receiver.queue.jobs import unpack
from receiver.visible import iso
from worker import ids
from worker.dead_letters import Operator
from worker.outcomes import states
from worker.transitions import PARSE
from worker.waiting import waits_for


async def story_of(operator: Operator, delivery_id: str) -> dict[str, Any] | None:
    """Everything that is known of a delivery, or None when it is not (or no longer) remembered."""
    redis, keys = operator.redis, operator.keys
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.delivery(delivery_id))
        pipe.lrange(keys.attempts(delivery_id), 0, -1)
        pipe.pttl(keys.delivery(delivery_id))
        pipe.exists(keys.payload(delivery_id))
        pipe.hgetall(keys.trace(delivery_id))
        record, attempts, remembered_ms, kept, traces = await pipe.execute()
    if not record:
        return None
    fields = {name.decode(): value for name, value in record.items()}
    reasons = [unpack(attempt) for attempt in attempts]
    handlers = _handlers(fields, reasons, traces)
    for name, told in handlers.items():
        in_line = (told["state"], told["attempts"]) == ("retry", 0)
        told["waits"] = await waits_for(redis, keys, delivery_id, name) if in_line else None
    return {
        "delivery": delivery_id,
        "key": fields.get("k", b"").decode(),
        "source": fields.get("s", b"event-id").decode(),
        "type": fields.get("t", b"").decode(),
        "sha256": fields.get("d", b"").hex(),
        "first_seen": iso(int(fields.get("a", 0)) / 1000),
        "spooled_until": iso(int(fields["q"])) if "q" in fields else None,
        "duplicates": int(fields.get("n", 0)),
        "duplicates_at": [iso(int(at)) for at in fields.get("l", b"").split()],
        "conflicts": int(fields.get("c", 0)),
        "open": remembered_ms == -1,
        "forgotten_in_s": None if remembered_ms < 0 else remembered_ms // 1000,
        "payload_kept": bool(kept),
        "handlers": handlers,
    }


async def find(operator: Operator, rule: IdempotencyRule, name: str) -> dict[str, Any] | None:
    """The story of a delivery by its id, its idempotency key (the event id) as the sender wrote it, or its beginning.

    Raises `SettingsError` when several ids begin so.
    """
    candidates = [name, *(delivery_id(word, name) for word in rule.words)]
    for candidate in candidates:
        if told := await story_of(operator, candidate):
            return told
    beginning = re.fullmatch(r"[0-9a-f]{4,23}", name) is not None
    found = ids.the_one(name, await _beginning_with(operator, name)) if beginning else None
    return await story_of(operator, found) if found else None


async def _beginning_with(operator: Operator, beginning: str) -> set[str]:
    """The ids of remembered deliveries that begin so; where SCAN is not allowed, of those accepted or dead last."""
    record = operator.keys.delivery("")
    try:
        found = {key.decode() async for key in operator.redis.scan_iter(f"{record}{beginning}*", count=1000)}
    except NoPermissionError:
        recent = await operator.redis.execute_command("LRANGE", operator.keys.recent, 0, -1)
        dead = [record + dead_id.partition(":")[0] for dead_id in await operator.dead_ids()]
        found = {key for key in [*(key.decode() for key in recent), *dead] if key.startswith(record + beginning)}
    return {key.removeprefix(record) for key in found}


def _handlers(fields: Mapping[str, bytes], reasons: list[Any], traces: Mapping[bytes, bytes]) -> dict[str, Any]:
    values = {name: value.decode() for name, value in fields.items() if "." in name or name == PARSE}
    accepted_ms = int(fields.get("a", 0)) // 1000
    where = {name.decode(): trace.decode().partition("\n") for name, trace in traces.items()}
    return {
        handler: {
            "state": state,
            "attempts": attempt,
            "at": iso(accepted_ms + float(values[handler].split(" ")[2])),
            "failed_at": where[handler][0] or None if handler in where else None,
            "trace": where[handler][2] if handler in where else None,
            "skipped": _skipped(handler, attempt, reasons) if state == "skipped" else None,
            "failures": [
                {"attempt": number, "at": iso(at), "then": then, "error": error}
                for name, number, at, then, error in reasons
                if name == handler and then != "skipped"
            ],
        }
        for handler, (state, attempt) in states(values).items()
    }


def _skipped(handler: str, attempt: int, reasons: list[Any]) -> str | None:
    """Why, as far as it is still remembered."""
    return next((why for name, number, _, _, why in reasons if (name, number) == (handler, attempt)), None)
