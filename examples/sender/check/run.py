"""Making the checks, one after another, and keeping what they found."""

import time
from collections.abc import AsyncIterator, Iterable

from examples.sender.check import (
    advice,
    answers,
    bad_input,
    connections,
    duplicates,
    effects,
    idle,
    load,
    restart,
)
from examples.sender.check.bench import Bench, said
from examples.sender.check.findings import CHECKS, LIKELY, Check, Failed, Finding, Skipped, Status, Warned
from examples.sender.http.reply import Reply
from examples.sender.http.wire import reason

# Importing them fills CHECKS. The order of the checks is this one: what is expected of every event first, a kill last.
STAGES = (answers, duplicates, bad_input, connections, idle, load, effects, restart)


def checks() -> dict[str, Check]:
    """All checks by their name, in the order in which they are made."""
    order = [stage.__name__ for stage in STAGES]
    return dict(sorted(CHECKS.items(), key=lambda one: order.index(one[1].made_by.__module__)))


async def begin(bench: Bench) -> Reply:
    """How the receiver answers an ordinary event, for all checks to compare with; the first of two may wake it."""
    first = await bench.post(bench.message())
    again = await bench.post(bench.message())
    bench.usual = first.status or 0
    bench.alone = min(first.seconds, again.seconds)
    return first


def refuses(first: Reply) -> bool:
    """Whether an ordinary event is refused: nothing else can be judged then."""
    return first.status is None or first.status >= 400  # noqa: PLR2004 - it is not taken at all


def estimate(bench: Bench, names: Iterable[str]) -> float:
    """About how many seconds these checks take, after `begin`."""
    return sum(CHECKS[name].takes(bench) for name in names)


async def findings(
    bench: Bench, names: Iterable[str] | None = None, first: Reply | None = None
) -> AsyncIterator[Finding]:
    """One finding per check, as they are made; `first` is what `begin` returned, if it was called."""
    first = first or await begin(bench)
    for name in names or checks():
        check = CHECKS[name]
        if refuses(first) and check is not answers.only_200_or_201:
            yield Finding(check.name, check.title, "skipped", f"an ordinary event is refused: {said([first])}", 0.0)
        else:
            yield await _made(check, bench)


async def _made(check: Check, bench: Bench) -> Finding:
    begun = time.perf_counter()
    status, seen, mend = await _judged(check, bench)
    if status not in {"failed", "warning"}:
        return Finding(check.name, check.title, status, seen, time.perf_counter() - begun)
    told = (check.glartek, LIKELY[check.likely], mend)
    return Finding(check.name, check.title, status, seen, time.perf_counter() - begun, *told)


async def _judged(check: Check, bench: Bench) -> tuple[Status, str, str]:
    """What became of it, what was seen, and what helps."""
    try:
        return "passed", await (_twice(check, bench) if check.timed else check.made_by(bench)), ""
    except Failed as fault:
        return "failed", str(fault), fault.mend or advice.elsewhere(fault.replies) or check.mend
    except Warned as warning:
        return "warning", str(warning), check.mend
    except Skipped as missing:
        return "skipped", str(missing), ""
    except (OSError, TimeoutError) as error:
        gone = Reply(error=f"cannot connect: {reason(error)}")
        return "failed", said([gone]), advice.against(gone)


async def _twice(check: Check, bench: Bench) -> str:
    try:
        return await check.made_by(bench)
    except Failed:
        return await check.made_by(bench)
