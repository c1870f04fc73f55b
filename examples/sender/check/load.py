"""Rates: what the receiver must take, and where its limit is."""

import asyncio

from examples.sender.check.bench import Bench, in_words, said
from examples.sender.check.findings import Failed, check
from examples.sender.play.storm import Figures, Storm

_BROAD = "puts no limit to its requests, and a refused event (429, 503) may never be sent again"


@check(
    "Takes a steady stream of events",
    glartek=_BROAD,
    mend="Take the rate limit off this endpoint, or raise it far above your busiest hour; a queue evens out the rest.",
    timed=True,
)
async def steady_stream(bench: Bench) -> str:
    limits = bench.limits
    figures = await _stream(bench, limits.rate, limits.rate_seconds)
    slowest = f"99 % within {figures.percentile(0.99) * 1000:.0f} ms"
    seen = f"{figures.planned} events at {limits.rate:g}/s: {in_words(figures.answers)}, {slowest}"
    if not _held(bench, figures):
        raise Failed(seen)
    return seen


@check(
    "Comes back after more events than it can take",
    glartek="sends what failed again: a receiver that does not recover by itself is among those to be disabled",
    mend="Shed load quickly (503 with Retry-After) instead of queueing requests without bound.",
)
async def recovers_from_its_limit(bench: Bench) -> str:
    rate, held = bench.limits.rate, 0.0
    while rate <= bench.limits.max_rate:
        figures = await _stream(bench, rate, min(1.0, bench.limits.rate_seconds))
        if not _held(bench, figures):
            break
        rate, held = rate * 2, rate
    limit = f"held {held:g}/s" + (
        "" if rate > bench.limits.max_rate else f", at {rate:g}/s: {in_words(figures.answers)}"
    )
    for _ in range(10):
        reply = await bench.post(bench.message())
        if bench.fine(reply):
            return f"{limit}; an event afterwards: {said([reply])}"
        await asyncio.sleep(bench.limits.prompt / 10)
    raise Failed(f"{limit}; still refuses events {bench.limits.prompt:g} s afterwards: {said([reply])}")


async def _stream(bench: Bench, rate: float, seconds: float) -> Figures:
    count = max(int(rate * seconds), 1)
    storm = Storm(bench.url, bench.message, count, timeout=bench.limits.timeout, signer=bench.signer)
    return await storm.at_rate(rate)


def _held(bench: Bench, figures: Figures) -> bool:
    fine = figures.ok + (figures.answers[str(bench.usual)] if bench.usual not in {200, 201} else 0)
    alone_slow = bench.limits.timeout if figures.percentile(0) > bench.limits.prompt else bench.limits.prompt
    return fine == figures.planned and figures.percentile(0.99) <= alone_slow
