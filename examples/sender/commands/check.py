"""check URL: tests a receiver against Glartek's best practices and reports the result."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from examples.sender import terminal
from examples.sender.check import reports
from examples.sender.check.answers import only_200_or_201
from examples.sender.check.context import CheckContext, Commands, Limits
from examples.sender.check.findings import LIKELY, Check, Finding
from examples.sender.check.ledger import effects_command
from examples.sender.check.run import begin, checks, estimate, findings, refuses
from examples.sender.commands import options
from examples.sender.commands.options import (
    STOPPED,
    Effects,
    EffectsSettle,
    EffectsWait,
    Folder,
    Headers,
    Html,
    Json,
    Junit,
    Ledger,
    Map,
    Secret,
    TimeOut,
)
from examples.sender.terminal import Refusal
from receiver.nearest import nearest

_DEFAULT = Limits()
_LONG = 20.0  # seconds from which the estimated time is printed if there is no progress bar
_LONGEST_PAUSE = 600.0
_FEW = 5  # most names that are listed
Names = Annotated[list[str] | None, typer.Option("--only", metavar="CHECK", help="Run only these checks.")]
Skips = Annotated[list[str] | None, typer.Option("--skip", metavar="CHECK", help="Skip these checks.")]


def check(
    *,
    url: Annotated[str | None, typer.Argument(metavar="URL", help="The endpoint, as it is given to Glartek.")] = None,
    list_checks: Annotated[bool, typer.Option("--list", help="List all checks.")] = False,
    only: Names = None,
    skip: Skips = None,
    effects_cmd: Effects = None,
    ledger: Ledger = False,
    slow_cmd: Annotated[str | None, typer.Option(help="Makes the consumer behind the endpoint slow.")] = None,
    restore_cmd: Annotated[str | None, typer.Option(help="Undoes --slow-cmd.")] = None,
    restart_cmd: Annotated[str | None, typer.Option(help="Kills the receiver (kill -9) and starts it again.")] = None,
    samples: Folder = None,
    payload_map: Map = None,
    header: Headers = None,
    secret: Secret = None,
    timeout: TimeOut = _DEFAULT.timeout,
    prompt: Annotated[float, typer.Option(min=0.01, help="Seconds within which an answer is quick.")] = _DEFAULT.prompt,
    burst: Annotated[int, typer.Option(min=1, max=500, help="Deliveries at once.")] = _DEFAULT.burst,
    rate: Annotated[float, typer.Option(min=1, max=2000, help="Events/s it must take.")] = _DEFAULT.rate,
    rate_seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds at --rate.")] = _DEFAULT.rate_seconds,
    max_rate: Annotated[float, typer.Option(min=1, max=5000, help="Most events/s to try.")] = _DEFAULT.max_rate,
    huge: Annotated[int, typer.Option(min=1, max=2**30, help="Bytes of the huge body.")] = _DEFAULT.huge,
    slow_body: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds of a slow body.")] = _DEFAULT.slow_body,
    idle: Annotated[str, typer.Option(metavar="SECONDS,…", help="Pauses before connections are used again.")] = "4",
    effects_wait: EffectsWait = _DEFAULT.effects_wait,
    effects_settle: EffectsSettle = _DEFAULT.effects_settle,
    junit: Junit = None,
    html: Html = None,
    json: Json = False,
) -> int:
    """Check a receiver, in any language, against Glartek's best practices. It sends events: use a test endpoint.

    Exit code 1 when a check failed, 2 when none did but a command that you gave does not work.
    """
    if list_checks:
        return _list(json=json)
    if not url:
        raise Refusal("URL is missing: expected the endpoint to check, such as: check http://127.0.0.1:8000/webhooks")
    limits = Limits(
        timeout=timeout, prompt=prompt, burst=burst, rate=rate, rate_seconds=rate_seconds, max_rate=max(rate, max_rate),
        huge=huge, slow_body=slow_body, idle=_pauses(idle), effects_wait=effects_wait, effects_settle=effects_settle,
    )  # fmt: skip
    context = CheckContext(
        options.endpoint(url),
        limits,
        options.samples(samples, payload_map),
        options.signer(secret),
        options.headers(header),
        effects_command(effects_cmd, ledger=ledger),
        Commands(slow_cmd, restore_cmd, restart_cmd),
    )
    names, found = _chosen(only, skip), list[Finding]()
    options.writable(junit, html)
    stopped = options.until_stopped(_make(context, names, found, quiet=json))
    found += [_left_out(checks()[name]) for name in names[len(found) :]]
    _report(terminal.without_secrets(url), found, asdict(limits), junit, html, json=json)
    if stopped:
        return STOPPED
    return 1 if any(finding.status == "failed" for finding in found) else 2 if context.broken else 0


def _report(
    url: str, found: Sequence[Finding], used: dict[str, Any], junit: Path | None, html: Path | None, *, json: bool
) -> None:
    if json:
        terminal.as_json(reports.as_dict(url, found, used))
    else:
        _tell_skipped(found)
        terminal.say(f"\n{url}: {reports.summary(found)}")
        terminal.settings(used)
    if junit:
        options.write(junit, reports.junit(url, found, used))
    if html:
        options.write(html, reports.html(url, found, used))


async def _make(context: CheckContext, names: Sequence[str], found: list[Finding], *, quiet: bool) -> None:
    with terminal.progress("left", remaining=False) as bar:
        task = bar.add_task("an ordinary event first", total=len(names), left="")
        first = await begin(context)
        whole = estimate(context, [only_200_or_201.name] if refuses(first) else names)
        if whole > _LONG and bar.disable:
            terminal.complain(f"checking takes about {terminal.span(whole)}")
        bar.update(task, left=f"about {terminal.span(whole)}")
        async for finding in findings(context, names, first):
            found.append(finding)
            left = terminal.span(estimate(context, names[len(found) :]))
            bar.update(task, advance=1, description=finding.title, left=f"about {left} left")
            if not quiet and finding.status != "skipped":
                with terminal.paused(bar):
                    _tell(finding)


def _tell(finding: Finding) -> None:
    terminal.verdict(finding.status, f"{finding.title}: {finding.seen}")
    if finding.mend:
        terminal.verdict("", f"Glartek {finding.glartek}. How likely: {finding.likely}.")
        terminal.verdict("", f"To fix it: {finding.mend}")


def _tell_skipped(found: Iterable[Finding]) -> None:
    """Print each reason once, with the skipped checks."""
    reasons: dict[str, list[str]] = {}
    for finding in found:
        if finding.status == "skipped":
            reasons.setdefault(finding.seen, []).append(finding.check)
    for reason, names in reasons.items():
        terminal.verdict("skipped", f"{', '.join(names) if len(names) <= _FEW else f'{len(names)} checks'}: {reason}")


def _left_out(check: Check) -> Finding:
    return Finding(check.name, check.title, "skipped", "stopped before it was made", 0.0)


def _list(*, json: bool) -> int:
    if json:
        rows = [
            {"check": one.name, "title": one.title, "likely": LIKELY[one.likely], "mend": one.mend}
            for one in checks().values()
        ]
        terminal.as_json(rows)
    else:
        shown = [(one.name, one.title, one.likely) for one in checks().values()]
        terminal.table(("CHECK", "WHAT IT HOLDS", "HOW LIKELY"), shown)
    return 0


def _chosen(only: Iterable[str] | None, skip: Iterable[str] | None) -> list[str]:
    known = checks()
    for name in (*(only or ()), *(skip or ())):
        if name not in known:
            raise Refusal(f"there is no check {name!r}{nearest(name, known)}")
    return [name for name in (only or known) if name not in (skip or ())]


def _pauses(text: str) -> tuple[float, ...]:
    try:
        pauses = tuple(sorted({float(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        pauses = ()
    if not pauses or not 0 < pauses[0] <= pauses[-1] <= _LONGEST_PAUSE:
        raise Refusal(f"--idle {text}: expected seconds separated by commas, such as 4,30,70")
    return pauses
