"""Runs the checks one after another."""

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
from examples.sender.check.context import CheckContext, said
from examples.sender.check.findings import CHECKS, LIKELY, Check, Failed, Finding, Skipped, Status, Warned
from examples.sender.http.reply import Reply
from examples.sender.http.wire import reason

# Importing them fills CHECKS. This is the order of the checks: the most basic first, the kill last.
STAGES = (answers, duplicates, bad_input, connections, idle, load, effects, restart)


def checks() -> dict[str, Check]:
    """All checks by name, in the order in which they run."""
    order = [stage.__name__ for stage in STAGES]
    return dict(sorted(CHECKS.items(), key=lambda one: order.index(one[1].made_by.__module__)))


async def begin(context: CheckContext) -> Reply:
    """Note how the receiver answers an ordinary event, and return the first answer.

    Sends two, because an idle receiver may answer the first one slowly.
    """
    first = await context.post(context.message())
    again = await context.post(context.message())
    context.usual = first.status or 0
    context.alone = min(first.seconds, again.seconds)
    return first


def refuses(first: Reply) -> bool:
    """Whether an ordinary event is refused, so that other checks make no sense."""
    return first.status is None or first.status >= 400  # noqa: PLR2004 - an error status


def estimate(context: CheckContext, names: Iterable[str]) -> float:
    """About how many seconds these checks take, after `begin`."""
    return sum(CHECKS[name].takes(context) for name in names)


async def findings(
    context: CheckContext, names: Iterable[str] | None = None, first: Reply | None = None
) -> AsyncIterator[Finding]:
    """Run the checks and yield one finding for each; `first` is the result of `begin`, if it was called.

    Where an ordinary event is refused, the check that says so is made although it was not asked for, and no other.
    """
    first = first or await begin(context)
    chosen, basic = list(names or checks()), answers.only_200_or_201
    if refuses(first) and basic.name not in chosen:
        chosen.insert(0, basic.name)
    for name in chosen:
        check = CHECKS[name]
        if refuses(first) and check is not basic:
            yield Finding(check.name, check.title, "skipped", f"an ordinary event is refused: {said([first])}", 0.0)
        else:
            yield await _made(check, context)


async def _made(check: Check, context: CheckContext) -> Finding:
    begun = time.perf_counter()
    status, seen, mend = await _judged(check, context)
    if status not in {"failed", "warning"}:
        return Finding(check.name, check.title, status, seen, time.perf_counter() - begun)
    told = (check.glartek, LIKELY[check.likely], mend)
    return Finding(check.name, check.title, status, seen, time.perf_counter() - begun, *told)


async def _judged(check: Check, context: CheckContext) -> tuple[Status, str, str]:
    """Run a check; returns its status, what was seen, and the advice."""
    try:
        return "passed", await (_twice(check, context) if check.timed else check.made_by(context)), ""
    except Failed as fault:
        return "failed", str(fault), fault.mend or advice.elsewhere(fault.replies) or check.mend
    except Warned as warning:
        return "warning", str(warning), check.mend
    except Skipped as missing:
        return "skipped", str(missing), ""
    except (OSError, TimeoutError) as error:
        gone = Reply(error=f"cannot connect: {reason(error)}")
        return "failed", said([gone]), advice.against(gone)


async def _twice(check: Check, context: CheckContext) -> str:
    try:
        return await check.made_by(context)
    except Failed:
        return await check.made_by(context)
