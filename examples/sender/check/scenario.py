"""Runs a scenario: sends its events in order, then counts their effects; each result is a finding."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from examples.sender.check.findings import Finding
from examples.sender.check.ledger import CannotCount, Count, counted
from examples.sender.check.steps import Step
from examples.sender.http import delivery
from examples.sender.http.delivery import TIMEOUT, Attempt
from examples.sender.http.message import Message
from examples.sender.http.signing import Signer


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send the events, and how to count their effects."""

    url: str
    signer: Signer | None = None
    timeout: float = TIMEOUT
    speed: float = 1.0
    """Pauses are divided by this; 0 means no pauses."""
    count: Count | None = None
    effects_wait: float = 10.0
    effects_settle: float = 1.0


async def findings(steps: Sequence[Step], target: Target) -> AsyncIterator[Finding]:
    """A finding for each sent event, then one for each event with expected effects."""
    taken: set[str] = set()
    async with delivery.client() as client:
        for step in steps:
            if step.message is None:
                await asyncio.sleep(step.wait / target.speed if target.speed else 0.0)
                continue
            message = target.signer.signed(step.message) if target.signer else step.message
            attempts = [await delivery.deliver(client, target.url, message, target.timeout) for _ in range(step.times)]
            if any(_may_be_taken(attempt, step) for attempt in attempts):
                taken.add(step.message.id or "")
            yield _answered(step, step.message, attempts)
    expected = [step for step in steps if step.effects is not None]
    if expected and target.count:
        for finding in await _effects(expected, taken, target, target.count):
            yield finding


def _may_be_taken(attempt: Attempt, step: Step) -> bool:
    """Whether the answer lets an effect follow: it was accepted, or nobody knows."""
    return attempt.ok or attempt.ambiguous or attempt.status in step.statuses


def _answered(step: Step, message: Message, attempts: Sequence[Attempt]) -> Finding:
    bad = [attempt for attempt in attempts if attempt.error or attempt.status not in step.statuses]
    said = ", ".join(dict.fromkeys(attempt.error or str(attempt.status) for attempt in bad or attempts))
    wanted = f"; expected {' or '.join(map(str, sorted(step.statuses)))}" if bad else ""
    answer = f": {bad[0].answer}" if bad and bad[0].answer else ""
    refused = f"{len(bad)} of " if 0 < len(bad) < len(attempts) else ""
    often = f"{refused}{len(attempts)} times: " if len(attempts) > 1 else ""
    title = f"{step.name}: sends {message.type}"
    seconds = sum(attempt.seconds for attempt in attempts)
    return Finding(step.name, title, "failed" if bad else "passed", f"{often}{said}{wanted}{answer}", seconds)


async def _effects(expected: Sequence[Step], taken: AbstractSet[str], target: Target, count: Count) -> list[Finding]:
    """Wait for the effects of what may have been `taken`, by event id, then count those of all."""
    begun = time.perf_counter()
    ids = {step.name: (step.message and step.message.id) or "" for step in expected}
    try:
        if awaited := [ids[step.name] for step in expected if step.effects and ids[step.name] in taken]:
            await counted(count, awaited, target.effects_wait)
        await asyncio.sleep(target.effects_settle)
        seen = await count(list(ids.values()))
    except CannotCount as reason:
        title = "counts effects"
        return [Finding("effects", title, "failed", str(reason), time.perf_counter() - begun)]
    took = time.perf_counter() - begun
    return [
        Finding(
            f"{step.name}-effects",
            f"{step.name}: takes effect {_times(step.effects or 0)}",
            "passed" if number == step.effects else "failed",
            f"took effect {_times(number)}",
            took,
        )
        for step, number in zip(expected, seen, strict=True)
    ]


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")
