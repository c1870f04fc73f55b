"""The effects of events, not only their answers: needs the user's command that counts an event's effects."""

import asyncio

from examples.sender.check.context import CheckContext, said
from examples.sender.check.findings import Failed, Skipped, Unusable, check
from examples.sender.check.ledger import CannotCount, counted
from examples.sender.http.message import Message

_NEEDED = (
    "needs --effects-cmd, a command that prints how many times the event {id} took effect, such as: "
    "psql -Atc \"select count(*) from audit where event_id = '{id}'\"; or --ledger for a receiver that is this kit"
)


@check(
    "Handles an event once, however often it is sent",
    likely="certain",
    glartek="sends the same event twice in some circumstances, even without a failure",
    mend="Remember the ids of handled events, and mark an event as handled in the same transaction as its effect.",
    takes=lambda context: 3 * context.alone + _settling(context),
)
async def effect_once(context: CheckContext) -> str:
    message = identified(context)
    for _ in range(3):
        await context.post(message)
    return await _once(context, [message], "sent three times")


@check(
    "Handles an event once when it is sent many times at once",
    likely="likely",
    glartek="may send again while the first request is still being answered: a time-out is ambiguous",
    mend="Claim the id in one atomic step before handling (INSERT … ON CONFLICT DO NOTHING, SET NX).",
    takes=lambda context: context.alone + _settling(context),
)
async def effect_once_at_once(context: CheckContext) -> str:
    message = identified(context)
    await context.together([message] * context.limits.several)
    return await _once(context, [message], f"sent {context.limits.several} times at once")


@check(
    "Handles every event that it accepted",
    likely="certain",
    glartek="offers no way to ask for an event again: what is lost after a 200 is gone",
    mend="Answer only after the event is on disk (a queue with fsync, a committed row), never from memory.",
    takes=lambda context: context.alone + _settling(context),
)
async def effect_of_every_event(context: CheckContext) -> str:
    messages = [identified(context) for _ in range(10)]
    replies = await context.together(messages)
    accepted = [message for message, reply in zip(messages, replies, strict=True) if context.fine(reply)]
    if not accepted:
        raise Skipped(f"none of {len(messages)} events at once was accepted: {said(replies)}")
    return await _once(context, accepted, f"{len(accepted)} different events at once")


@check(
    "Answers no error to what it handled",
    likely="certain",
    glartek="takes an error for a failure and sends the event again, although it was handled",
    mend="Validate before you handle: a refused event must have no effect, and a handled event is answered 200, "
    "whatever fails afterwards.",
    takes=lambda context: context.alone + _settling(context),
)
async def no_effect_of_what_it_refused(context: CheckContext) -> str:
    identified(context)
    huge = context.payload() | {"filler": "x" * context.limits.huge}
    odd = [context.of(payload) for payload in (huge, context.retyped("work_order.teleported"), context.retyped(None))]
    replies = await context.together(odd)
    refused = [message for message, reply in zip(odd, replies, strict=True) if not context.fine(reply) and message.id]
    seen = f"a huge, an unknown and a typeless event: {said(replies)}"
    if not refused:
        return f"{seen}: none refused"
    await asyncio.sleep(context.limits.effects_settle)
    if handled := sum(count > 0 for count in await counts(context, refused)):
        raise Failed(f"{seen}; {handled} of the {len(refused)} that it refused took effect all the same")
    return f"{seen}; what it refused had no effect"


async def kept(context: CheckContext, message: Message, seen: str) -> str:
    """Wait for an accepted event's effect, if effects can be counted, and describe it; raises `Failed` if none."""
    if not context.count or not message.id:
        return ""
    if not (await counts(context, [message], context.limits.effects_wait))[0]:
        raise Failed(f"{seen}, and no effect within {context.limits.effects_wait:g} s: the event is lost")
    return ", and it took effect"


def identified(context: CheckContext) -> Message:
    """An event whose effects can be counted; raises `Skipped` if they cannot."""
    message = context.message()
    if context.count is None:
        raise Skipped(_NEEDED)
    if not message.id:
        raise Skipped("the sample payloads have no event id to count effects by")
    return message


async def counts(context: CheckContext, messages: list[Message], wait: float = 0.0) -> list[int]:
    """How often each event took effect; returns when all have, or after `wait` seconds."""
    if context.count is None:
        raise Skipped(_NEEDED)
    try:
        return await counted(context.count, [message.id or "" for message in messages], wait)
    except CannotCount as reason:
        raise Unusable(str(reason)) from None


async def _once(context: CheckContext, messages: list[Message], what: str) -> str:
    if missing := (await counts(context, messages, context.limits.effects_wait)).count(0):
        raise Failed(f"{what}: {missing} without any effect after {context.limits.effects_wait:g} s")
    await asyncio.sleep(context.limits.effects_settle)
    most = max(await counts(context, messages))
    if most > 1:
        raise Failed(f"{what}: took effect {most} times")
    return f"{what}: took effect once"


def _settling(context: CheckContext) -> float:
    return context.limits.effects_settle if context.count else 0.0
