"""Rates: what the receiver must take, and where its limit is."""

import asyncio
from collections.abc import Iterable

from examples.sender.check import advice
from examples.sender.check.advice import QUEUE
from examples.sender.check.bench import Bench, in_words, said
from examples.sender.check.findings import Failed, check
from examples.sender.http.reply import Reply
from examples.sender.play.storm import Figures, Storm

_BROAD = "puts no limit to its requests, and a refused event (429, 503) may never be sent again"


def _steps(bench: Bench) -> list[float]:
    """The rates of the search: twice the steady one, and twice again, up to the limit."""
    rates = [bench.limits.rate]
    while rates[-1] * 2 <= bench.limits.max_rate:
        rates.append(rates[-1] * 2)
    return rates[1:] or rates


@check(
    "Takes a steady stream of events",
    likely="likely",
    glartek=_BROAD,
    mend=QUEUE,
    timed=True,
    takes=lambda bench: bench.limits.rate_seconds + bench.alone,
)
async def steady_stream(bench: Bench) -> str:
    limits = bench.limits
    figures = await _stream(bench, limits.rate, limits.rate_seconds)
    within = f", 99 % within {figures.percentile(0.99) * 1000:.0f} ms" if figures.ok else ""
    seen = f"{figures.planned} events at {limits.rate:g}/s: {in_words(figures.answers)}{within}"
    if not _held(bench, figures):
        raise Failed(seen, mend=advice.under_load(_refusals(bench, figures), QUEUE))
    return seen


@check(
    "Comes back after more events than it can take",
    likely="likely",
    glartek="sends what failed again: a receiver that does not recover by itself is among those to be disabled",
    mend="Shed load quickly (503 with Retry-After) instead of queueing requests without bound.",
    takes=lambda bench: len(_steps(bench)) * min(1.0, bench.limits.rate_seconds) + bench.alone,
)
async def recovers_from_its_limit(bench: Bench) -> str:
    limit = "held no more than its steady stream"
    for rate in _steps(bench):
        figures = await _stream(bench, rate, min(1.0, bench.limits.rate_seconds))
        if not _held(bench, figures):
            limit += f", at {rate:g}/s: {in_words(figures.answers)}"
            break
        limit = f"held {rate:g}/s"
    for _ in range(10):
        reply = await bench.post(bench.message())
        if bench.fine(reply):
            return f"{limit}; an event afterwards: {said([reply])}"
        await asyncio.sleep(bench.limits.prompt / 10)
    raise Failed(f"{limit}; still refuses events {bench.limits.prompt:g} s afterwards: {said([reply])}")


async def _stream(bench: Bench, rate: float, seconds: float) -> Figures:
    count = max(int(rate * seconds), 1)
    storm = Storm(
        bench.url,
        lambda: bench.message().having(bench.extra),
        count,
        timeout=bench.limits.timeout,
        signer=bench.signer,
    )
    return await storm.at_rate(rate)


def _held(bench: Bench, figures: Figures) -> bool:
    fine = figures.ok + (figures.answers[str(bench.usual)] if bench.usual not in {200, 201} else 0)
    alone_slow = bench.limits.timeout if figures.percentile(0) > bench.limits.prompt else bench.limits.prompt
    return fine == figures.planned and figures.percentile(0.99) <= alone_slow


def _refusals(bench: Bench, figures: Figures) -> Iterable[Reply]:
    """What was answered to those that were not accepted, the most frequent first."""
    for answer, count in figures.answers.most_common():
        reply = Reply(int(answer)) if answer.isdecimal() else Reply(error=answer)
        if not bench.fine(reply):
            yield from [reply] * count
