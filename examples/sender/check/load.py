"""Load: the rate that the receiver must take, and its limit."""

import asyncio
from collections.abc import Iterable

from examples.sender.check import advice
from examples.sender.check.advice import QUEUE
from examples.sender.check.context import CheckContext, in_words, said
from examples.sender.check.findings import Failed, check
from examples.sender.http.reply import Reply
from examples.sender.play.storm import Figures, Storm

_BROAD = "puts no limit to its requests, and a refused event (429, 503) may never be sent again"


def _steps(context: CheckContext) -> list[float]:
    """The rates of the search: the steady rate doubled repeatedly, up to the limit."""
    rates = [context.limits.rate]
    while rates[-1] * 2 <= context.limits.max_rate:
        rates.append(rates[-1] * 2)
    return rates[1:] or rates


@check(
    "Takes a steady stream of events",
    likely="likely",
    glartek=_BROAD,
    mend=QUEUE,
    timed=True,
    takes=lambda context: context.limits.rate_seconds + context.alone,
)
async def steady_stream(context: CheckContext) -> str:
    limits = context.limits
    figures = await _stream(context, limits.rate, limits.rate_seconds)
    within = f", 99 % within {figures.percentile(0.99) * 1000:.0f} ms" if figures.ok else ""
    seen = f"{figures.planned} events at {limits.rate:g}/s: {in_words(figures.answers)}{within}"
    if not _held(context, figures):
        raise Failed(seen, mend=advice.under_load(_refusals(context, figures), QUEUE))
    return seen


@check(
    "Comes back after more events than it can take",
    likely="likely",
    glartek="sends what failed again: a receiver that does not recover by itself is among those to be disabled",
    mend="Shed load quickly (503 with Retry-After) instead of queueing requests without bound.",
    takes=lambda context: len(_steps(context)) * min(1.0, context.limits.rate_seconds) + context.alone,
)
async def recovers_from_its_limit(context: CheckContext) -> str:
    limit = "held no more than its steady stream"
    for rate in _steps(context):
        figures = await _stream(context, rate, min(1.0, context.limits.rate_seconds))
        if not _held(context, figures):
            limit += f", at {rate:g}/s: {in_words(figures.answers)}"
            break
        limit = f"held {rate:g}/s"
    for _ in range(10):
        reply = await context.post(context.message())
        if context.fine(reply):
            return f"{limit}; an event afterwards: {said([reply])}"
        await asyncio.sleep(context.limits.prompt / 10)
    raise Failed(f"{limit}; still refuses events {context.limits.prompt:g} s afterwards: {said([reply])}")


async def _stream(context: CheckContext, rate: float, seconds: float) -> Figures:
    count = max(int(rate * seconds), 1)
    storm = Storm(
        context.url,
        lambda: context.message().having(context.extra),
        count,
        timeout=context.limits.timeout,
        signer=context.signer,
    )
    return await storm.at_rate(rate)


def _held(context: CheckContext, figures: Figures) -> bool:
    fine = figures.ok + (figures.answers[str(context.usual)] if context.usual not in {200, 201} else 0)
    alone_slow = context.limits.timeout if figures.percentile(0) > context.limits.prompt else context.limits.prompt
    return fine == figures.planned and figures.percentile(0.99) <= alone_slow


def _refusals(context: CheckContext, figures: Figures) -> Iterable[Reply]:
    """The answers other than success, the most frequent first."""
    for answer, count in figures.answers.most_common():
        reply = Reply(int(answer)) if answer.isdecimal() else Reply(error=answer)
        if not context.fine(reply):
            yield from [reply] * count
