"""Making the checks, one after another, and keeping what they found."""

import time
from collections.abc import AsyncIterator, Iterable

from examples.sender.check import answers, bad_input, connections, duplicates, effects, load
from examples.sender.check.bench import Bench, said
from examples.sender.check.findings import CHECKS, Check, Failed, Finding, Skipped, Status, Warned

STAGES = (answers, duplicates, bad_input, connections, load, effects)  # importing them fills CHECKS


async def findings(bench: Bench, names: Iterable[str] | None = None) -> AsyncIterator[Finding]:
    """One finding per check, as they are made. Where an ordinary event is refused, nothing else can be judged."""
    chosen = [CHECKS[name] for name in (names or CHECKS)]
    first = await bench.post(bench.message())
    refused = first.status is None or first.status >= 400  # noqa: PLR2004 - an ordinary event is not taken at all
    bench.usual = first.status or 0
    for check in chosen:
        if refused and check is not answers.only_200_or_201:
            yield Finding(check.name, check.title, "skipped", f"an ordinary event is refused: {said([first])}", 0.0)
        else:
            yield await _made(check, bench)


async def _made(check: Check, bench: Bench) -> Finding:
    begun = time.perf_counter()
    status: Status = "passed"
    try:
        seen = await (_twice(check, bench) if check.timed else check.made_by(bench))
    except Failed as fault:
        status, seen = "failed", str(fault)
    except Warned as warning:
        status, seen = "warning", str(warning)
    except Skipped as reason:
        status, seen = "skipped", str(reason)
    except (OSError, TimeoutError) as error:
        status, seen = "failed", f"cannot connect: {error}"
    told = (check.glartek, check.mend) if status in {"failed", "warning"} else ("", "")
    return Finding(check.name, check.title, status, seen, time.perf_counter() - begun, *told)


async def _twice(check: Check, bench: Bench) -> str:
    try:
        return await check.made_by(bench)
    except Failed:
        return await check.made_by(bench)
