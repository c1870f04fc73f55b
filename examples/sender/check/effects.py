"""What the events did, not only how they were answered: needs the user's command that counts an event's effects."""

import asyncio
import time

from examples.sender.check.bench import Bench
from examples.sender.check.findings import Failed, Skipped, check
from examples.sender.check.ledger import CannotCount
from examples.sender.payloads import Message

_NEEDED = (
    "needs --effects-cmd, a command that prints how many times the event {id} took effect, such as: "
    "psql -Atc \"select count(*) from audit where event_id = '{id}'\"; or --ledger for a receiver that is this kit"
)


@check(
    "Handles an event once, however often it is sent",
    glartek="sends the same event twice in some circumstances, even without a failure",
    mend="Remember the ids of handled events, and mark an event as handled in the same transaction as its effect.",
)
async def effect_once(bench: Bench) -> str:
    message = _identified(bench)
    for _ in range(3):
        await bench.post(message)
    return await _once(bench, [message], "sent three times")


@check(
    "Handles an event once when it is sent many times at once",
    glartek="may send again while the first request is still being answered: a time-out is ambiguous",
    mend="Claim the id in one atomic step before handling (INSERT … ON CONFLICT DO NOTHING, SET NX).",
)
async def effect_once_at_once(bench: Bench) -> str:
    message = _identified(bench)
    await bench.together([message] * 20)
    return await _once(bench, [message], "sent 20 times at once")


@check(
    "Handles every event that it accepted",
    glartek="offers no way to ask for an event again: what is lost after a 200 is gone",
    mend="Answer only after the event is on disk (a queue with fsync, a committed row), never from memory.",
)
async def effect_of_every_event(bench: Bench) -> str:
    messages = [_identified(bench) for _ in range(10)]
    replies = await bench.together(messages)
    accepted = [message for message, reply in zip(messages, replies, strict=True) if bench.fine(reply)]
    return await _once(bench, accepted, f"{len(accepted)} different events at once")


def _identified(bench: Bench) -> Message:
    message = bench.message()
    if bench.count is None:
        raise Skipped(_NEEDED)
    if not message.id:
        raise Skipped("the sample payloads have no event id to count effects by")
    return message


async def _once(bench: Bench, messages: list[Message], what: str) -> str:
    begun = time.monotonic()
    counts = await _counts(bench, messages)
    while min(counts) < 1 and time.monotonic() - begun < bench.limits.effects_wait:
        await asyncio.sleep(0.1)
        counts = await _counts(bench, messages)
    if min(counts) >= 1:
        await asyncio.sleep(bench.limits.effects_settle)
        counts = await _counts(bench, messages)
    if missing := counts.count(0):
        raise Failed(f"{what}: {missing} without any effect after {bench.limits.effects_wait:g} s")
    if max(counts) > 1:
        raise Failed(f"{what}: took effect {max(counts)} times")
    return f"{what}: took effect once"


async def _counts(bench: Bench, messages: list[Message]) -> list[int]:
    if bench.count is None:
        raise Skipped(_NEEDED)
    try:
        return [await bench.count(message.id or "") for message in messages]
    except CannotCount as reason:
        raise Skipped(str(reason)) from None
