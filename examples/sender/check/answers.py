"""How an ordinary event is answered: status, time, size."""

import asyncio
import shlex
from asyncio.subprocess import DEVNULL

from examples.sender.check import advice
from examples.sender.check.advice import QUEUE
from examples.sender.check.context import CheckContext, said
from examples.sender.check.findings import Failed, Skipped, Unusable, check
from examples.sender.http.delivery import SUCCESS
from examples.sender.http.reply import Reply

_LEAN = 1024  # bytes of head, and of body: far more than an empty 200 needs


@check(
    "Answers 200 or 201 to every type of event",
    likely="certain",
    glartek="counts any other answer, 202, 204 and redirects included, as a failed request: it may send the event "
    "again, and may disable the endpoint",
    mend="Answer 200 with an empty body as soon as the event is stored, whatever its type.",
    takes=lambda context: len(context.samples.by_type) * context.alone,
)
async def only_200_or_201(context: CheckContext) -> str:
    replies = {kind: await context.post(context.message(kind)) for kind in context.samples.by_type}
    bad: dict[str, list[str]] = {}
    for kind, reply in replies.items():
        if reply.status not in SUCCESS:
            bad.setdefault(said([reply]), []).append(kind)
    if bad or context.unsteady:
        worst = next((reply for reply in replies.values() if reply.status not in SUCCESS), *context.unsteady[:1])
        seen = [f"{answer} for {_few(kinds, len(replies))}" for answer, kinds in bad.items()]
        if context.unsteady:
            seen.append(f"{said(context.unsteady)} of {context.ordinary} events of one type")
        raise Failed("; ".join(seen), mend=advice.against(worst))
    return f"{said(replies.values())} for {len(replies)} types"


@check(
    "Answers promptly, alone",
    likely="certain",
    glartek="gives up after 10 s; slow receivers are among those it may disable or ask a customer to mend",
    mend=QUEUE,
    timed=True,
    takes=lambda context: 3 * context.alone,
)
async def prompt_alone(context: CheckContext) -> str:
    replies = [await context.post(context.message()) for _ in range(3)]
    slowest = max(replies, key=lambda reply: reply.seconds)
    if slowest.seconds > context.limits.prompt:
        told = said([slowest]) if slowest.error else f"an answer took {slowest.seconds:.2f} s"
        raise Failed(f"{told}; up to {context.limits.prompt:g} s is prompt", slowest)
    return f"within {slowest.seconds * 1000:.0f} ms"


@check(
    "Answers promptly while many events arrive at once",
    likely="likely",
    glartek="puts no limit to its requests: a busy day must not make the endpoint time out, for then every event "
    "is sent again on top",
    mend=f"{QUEUE} Answer requests side by side: more workers, or an asynchronous server.",
    timed=True,
)
async def prompt_under_load(context: CheckContext) -> str:
    replies = await context.together(context.message() for _ in range(context.limits.burst))
    return at_once(context, replies, prompt_under_load.mend)


def at_once(context: CheckContext, replies: list[Reply], mend: str, when: str = "") -> str:
    """Describe the answers to many events at once; raises `Failed` unless all were accepted promptly."""
    slowest = max(reply.seconds for reply in replies)
    if not all(map(context.fine, replies)) or not context.quick(slowest):
        bad = [reply for reply in replies if not context.fine(reply)]
        seen = f"{len(replies)} at once{when}: {said(replies)}, the slowest after {slowest:.2f} s"
        raise Failed(seen, mend=advice.under_load(bad, mend))
    return f"{len(replies)} at once{when} within {slowest * 1000:.0f} ms"


@check(
    "Answers promptly while the consumer behind it is slow",
    likely="likely",
    glartek="times out after 10 s although the event may have been taken, and sends it again: duplicates",
    mend=f"{QUEUE} An outage of the ERP or of Teams must not slow the endpoint down.",
    timed=True,
)
async def prompt_while_consumer_is_slow(context: CheckContext) -> str:
    if not context.commands.slow:
        raise Skipped("needs --slow-cmd, a command that makes your consumer slow (and --restore-cmd to undo it)")
    await run(context.commands.slow)
    try:
        reply = await context.post(context.message())
    finally:
        if context.commands.restore:
            await run(context.commands.restore)
    if not context.fine(reply) or not context.quick(reply.seconds):
        raise Failed(f"{said([reply])} after {reply.seconds:.2f} s with a slow consumer, {context.alone:.2f} s without")
    return f"{said([reply])} within {reply.seconds * 1000:.0f} ms with a slow consumer"


@check(
    "Keeps headers and body of its answer small",
    likely="certain",
    glartek="neither reads nor stores them: every byte is waste, and the time to send it counts",
    mend="Send an empty body, and turn off unneeded headers: Server, cookies, security and caching headers.",
)
async def lean_answer(context: CheckContext) -> str:
    reply = await context.post(context.message())
    seen = f"{reply.head_bytes} bytes of headers, {reply.body_bytes} bytes of body"
    if max(reply.head_bytes, reply.body_bytes) > _LEAN:
        raise Failed(f"{seen}; up to {_LEAN} bytes of each is small")
    return seen


def _few(kinds: list[str], of: int) -> str:
    if len(kinds) == of:
        return f"all {of} types"
    more = f" and {len(kinds) - 3} more types" if len(kinds) > 3 else ""  # noqa: PLR2004 - three examples are enough
    return ", ".join(kinds[:3]) + more


async def run(command: str) -> None:
    """Run a user's command to its end; raises `Unusable` if it fails."""
    try:
        process = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=DEVNULL)
    except OSError as error:
        raise Unusable(f"{command!r} cannot be run: {error.strerror}") from None
    if await process.wait():
        raise Unusable(f"{command!r} ended with exit code {process.returncode}")
