"""Runs the checks one after another."""

import re
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
from examples.sender.check.findings import CHECKS, LIKELY, Check, Failed, Finding, Skipped, Status, Unusable, Warned
from examples.sender.http.reply import Reply
from examples.sender.http.wire import reason

_ORDINARY, _FOR = 20, 1.0
"""The most events that are sent before all checks, and the seconds after which no further one is."""

# Importing them fills CHECKS. This is the order of the checks: the most basic first, the kill last.
STAGES = (answers, duplicates, bad_input, connections, idle, load, effects, restart)


def checks() -> dict[str, Check]:
    """All checks by name, in the order in which they run."""
    order = [stage.__name__ for stage in STAGES]
    return dict(sorted(CHECKS.items(), key=lambda one: order.index(one[1].made_by.__module__)))


async def begin(context: CheckContext) -> Reply:
    """Note how the receiver answers an ordinary event, and return its first success, or else its first answer.

    Sends two at least, because an idle receiver may answer the first one slowly; and more for a second unless both are
    refused, because a receiver that fails now and then would seem to fail for what the checks send.
    """
    begun, replies = time.monotonic(), list[Reply]()
    while len(replies) < 2 or (  # noqa: PLR2004 - the docstring says why
        len(replies) < _ORDINARY and time.monotonic() - begun < _FOR and not all(map(refuses, replies))
    ):
        replies.append(await context.post(context.message()))
    taken = [reply for reply in replies if not refuses(reply)]
    context.ordinary, context.unsteady = len(replies), [reply for reply in replies if taken and refuses(reply)]
    first = (taken or replies)[0]
    context.usual = first.status or 0
    context.alone = min(reply.seconds for reply in taken or replies)
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
        usual = fault.mend or advice.elsewhere(fault.replies) or check.mend
        return "failed", str(fault), _of_unsteady(context, str(fault)) or usual
    except Warned as warning:
        return "warning", str(warning), check.mend
    except Skipped as missing:
        context.broken |= isinstance(missing, Unusable)
        return "skipped", str(missing), ""
    except (OSError, TimeoutError) as error:
        gone = Reply(error=f"cannot connect: {reason(error)}")
        return "failed", said([gone]), advice.against(gone)


def _of_unsteady(context: CheckContext, seen: str) -> str:
    """Advice if the answer that a check failed for comes to ordinary events now and then; "" otherwise."""
    for reply in context.unsteady:
        if re.search(rf"\b{re.escape(said([reply]))}\b", seen):
            often = f"{said(context.unsteady)} of {context.ordinary}"
            return f"Ordinary events are answered so now and then ({often}): begin there. {advice.against(reply)}"
    return ""


async def _twice(check: Check, context: CheckContext) -> str:
    try:
        return await check.made_by(context)
    except Failed:
        return await check.made_by(context)
