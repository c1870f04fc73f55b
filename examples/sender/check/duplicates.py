"""Duplicates: Glartek says that it may send the same event twice, even without a failure."""

import json
from collections.abc import Iterable

from examples.sender.check import advice
from examples.sender.check.context import CheckContext, said
from examples.sender.check.findings import Failed, Skipped, check
from examples.sender.http.message import Message
from examples.sender.http.reply import Reply

_AGAIN = "takes it for a failure, although the event was handled: it sends it yet again, and may disable the endpoint"


@check(
    "Accepts the same event again",
    likely="certain",
    glartek=_AGAIN,
    mend="Answer a duplicate exactly as its first delivery: 200. Then drop it.",
    takes=lambda context: 3 * context.alone,
)
async def duplicates_one_after_another(context: CheckContext) -> str:
    message = context.message()
    replies = [await context.post(message) for _ in range(3)]
    if not all(map(context.fine, replies)):
        raise Failed(f"the same bytes three times: {said(replies)}", *replies)
    return f"the same bytes three times: {said(replies)}"


@check(
    "Accepts the same event many times at once",
    likely="likely",
    glartek=_AGAIN,
    mend="Claim the event's id in one atomic step (INSERT … ON CONFLICT DO NOTHING, SET NX), instead of looking "
    "first and inserting later; answer 200 to the later requests too.",
)
async def duplicates_at_once(context: CheckContext) -> str:
    message = context.message()
    replies = await context.together([message] * context.limits.several)
    seen = f"the same bytes {len(replies)} times at once: {said(replies)}"
    if all(map(context.fine, replies)):
        return seen
    _unless_refused_anyway(context, await context.post(message), replies)
    bad = [reply for reply in replies if not context.fine(reply)]
    raise Failed(seen, *replies, mend=advice.under_load(bad, "") if all(reply.error for reply in bad) else "")


def _unless_refused_anyway(context: CheckContext, later: Reply, replies: Iterable[Reply]) -> None:
    """Raise `Skipped` for a receiver that refuses every duplicate: the check above reports that."""
    if not context.fine(later) and all(context.fine(reply) or reply.status == later.status for reply in replies):
        raise Skipped(f"a duplicate is refused anyway, with {said([later])}: see duplicates-one-after-another")


@check(
    "Accepts the same event with other bytes",
    likely="possible",
    glartek="does not document that a repeated request is byte-identical: a field such as the sending time may differ. "
    "It " + _AGAIN,
    mend="Recognise an event by its id, not by its bytes, and answer 200; keep differing bytes aside if they matter.",
    takes=lambda context: 3 * context.alone,
)
async def duplicates_with_other_bytes(context: CheckContext) -> str:
    payload = context.payload()
    again = {**payload, "sent_again": True}
    pretty = json.dumps(again, indent=1).encode()  # also another serialisation
    await context.post(context.of(payload))
    same = await context.post(context.of(payload))
    other = await context.post(Message.raw(pretty, context.samples.where))
    if not context.fine(other):
        _unless_refused_anyway(context, same, [other])
        raise Failed(f"the same id in other bytes: {said([other])}", other)
    return f"the same id in other bytes: {said([other])}"
