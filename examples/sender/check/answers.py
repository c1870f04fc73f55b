"""How an ordinary event is answered: status, time, size."""

import asyncio
import shlex
from asyncio.subprocess import DEVNULL

from examples.sender.check import advice
from examples.sender.check.advice import QUEUE
from examples.sender.check.bench import Bench, said
from examples.sender.check.findings import Failed, Skipped, check
from examples.sender.http.delivery import SUCCESS
from examples.sender.http.reply import Reply

_LEAN = 1024  # bytes of head, and of body: far more than an empty 200 needs


@check(
    "Answers 200 or 201 to every type of event",
    likely="certain",
    glartek="counts any other answer, 202, 204 and redirects included, as a failed request: it may send the event "
    "again, and may disable the endpoint",
    mend="Answer 200 with an empty body as soon as the event is stored, whatever its type.",
    takes=lambda bench: len(bench.samples.by_type) * bench.alone,
)
async def only_200_or_201(bench: Bench) -> str:
    replies = {kind: await bench.post(bench.message(kind)) for kind in bench.samples.by_type}
    bad: dict[str, list[str]] = {}
    for kind, reply in replies.items():
        if reply.status not in SUCCESS:
            bad.setdefault(said([reply]), []).append(kind)
    if bad:
        worst = next(reply for reply in replies.values() if reply.status not in SUCCESS)
        seen = "; ".join(f"{answer} for {_few(kinds, len(replies))}" for answer, kinds in bad.items())
        raise Failed(seen, mend=advice.against(worst))
    return f"{said(replies.values())} for {len(replies)} types"


@check(
    "Answers promptly, alone",
    likely="certain",
    glartek="gives up after 10 s; slow receivers are among those it may disable or ask a customer to mend",
    mend=QUEUE,
    timed=True,
    takes=lambda bench: 3 * bench.alone,
)
async def prompt_alone(bench: Bench) -> str:
    replies = [await bench.post(bench.message()) for _ in range(3)]
    slowest = max(replies, key=lambda reply: reply.seconds)
    if slowest.seconds > bench.limits.prompt:
        told = said([slowest]) if slowest.error else f"an answer took {slowest.seconds:.2f} s"
        raise Failed(f"{told}; up to {bench.limits.prompt:g} s is prompt", slowest)
    return f"within {slowest.seconds * 1000:.0f} ms"


@check(
    "Answers promptly while many events arrive at once",
    likely="likely",
    glartek="puts no limit to its requests: a busy day must not make the endpoint time out, for then every event "
    "is sent again on top",
    mend=f"{QUEUE} Answer requests side by side: more workers, or an asynchronous server.",
    timed=True,
)
async def prompt_under_load(bench: Bench) -> str:
    replies = await bench.together(bench.message() for _ in range(bench.limits.burst))
    return at_once(bench, replies, prompt_under_load.mend)


def at_once(bench: Bench, replies: list[Reply], mend: str, when: str = "") -> str:
    """What became of many events at once; raises `Failed` unless all were accepted, and promptly."""
    slowest = max(reply.seconds for reply in replies)
    if not all(map(bench.fine, replies)) or not bench.quick(slowest):
        bad = [reply for reply in replies if not bench.fine(reply)]
        seen = f"{len(replies)} at once{when}: {said(replies)}, the slowest after {slowest:.2f} s"
        raise Failed(seen, mend=advice.under_load(bad, mend))
    return f"{len(replies)} at once{when} within {slowest * 1000:.0f} ms"


@check(
    "Answers promptly while the consumer behind it is slow",
    likely="likely",
    glartek="times out after 10 s although the event may have been taken, and sends it again: duplicates",
    mend=f"{QUEUE} An outage of the ERP or of Teams must not be felt at the endpoint.",
    timed=True,
)
async def prompt_while_consumer_is_slow(bench: Bench) -> str:
    if not bench.commands.slow:
        raise Skipped("needs --slow-cmd, a command that makes your consumer slow (and --restore-cmd to undo it)")
    await run(bench.commands.slow)
    try:
        reply = await bench.post(bench.message())
    finally:
        if bench.commands.restore:
            await run(bench.commands.restore)
    if not bench.fine(reply) or not bench.quick(reply.seconds):
        raise Failed(f"{said([reply])} after {reply.seconds:.2f} s with a slow consumer, {bench.alone:.2f} s without")
    return f"{said([reply])} within {reply.seconds * 1000:.0f} ms with a slow consumer"


@check(
    "Keeps headers and body of its answer small",
    likely="certain",
    glartek="neither reads nor stores them: every byte is waste, and the time to send it counts",
    mend="Send an empty body, and turn off headers that nobody reads: Server, cookies, security and caching headers.",
)
async def lean_answer(bench: Bench) -> str:
    reply = await bench.post(bench.message())
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
    """Run a command of the user's to its end; raises `Skipped` when it does not work."""
    try:
        process = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=DEVNULL)
    except OSError as error:
        raise Skipped(f"{command!r} cannot be run: {error.strerror}") from None
    if await process.wait():
        raise Skipped(f"{command!r} ended with exit code {process.returncode}")
