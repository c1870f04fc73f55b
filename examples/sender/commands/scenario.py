"""scenario FILE: runs an acceptance test from a TOML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from examples.sender import terminal
from examples.sender.check import reports, scenario
from examples.sender.check.findings import Finding
from examples.sender.check.ledger import effects_command
from examples.sender.check.scenario import Target
from examples.sender.check.steps import Maker, Step
from examples.sender.commands import options
from examples.sender.commands.options import (
    STOPPED,
    Effects,
    EffectsSettle,
    EffectsWait,
    Folder,
    Headers,
    Json,
    Junit,
    Ledger,
    Map,
    Secret,
    Seed,
    TimeOut,
    To,
)
from examples.sender.http import delivery
from examples.sender.play import payloads
from examples.sender.terminal import Refusal


def scenario_command(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file of [[step]] tables.")],
    to: To = None,
    effects_cmd: Effects = None,
    ledger: Ledger = False,
    speed: Annotated[float, typer.Option(min=0, help="Divides pauses; 0 for no pauses.")] = 1.0,
    samples: Folder = None,
    payload_map: Map = None,
    header: Headers = None,
    secret: Secret = None,
    seed: Seed = None,
    timeout: TimeOut = delivery.TIMEOUT,
    effects_wait: EffectsWait = 10.0,
    effects_settle: EffectsSettle = 1.0,
    junit: Junit = None,
    json: Json = False,
) -> int:
    """Send the events of a scenario in order, and compare answers and effects with its expectations."""
    rng, now = payloads.randomness(seed)
    steps = Maker(file, options.samples(samples, payload_map), rng, now, options.headers(header)).steps()
    count = effects_command(effects_cmd, ledger=ledger)
    if not count and any(step.effects is not None for step in steps):
        raise Refusal(f"{file}: it expects effects; pass --effects-cmd, a command that counts them, or --ledger")
    url = options.endpoint(to)
    target = Target(url, options.signer(secret), timeout, speed, count, effects_wait, effects_settle)
    options.writable(junit)
    found: list[Finding] = []
    stopped = options.until_stopped(_run(steps, target, found, quiet=json))
    _report(terminal.without_secrets(url), found, {"speed": speed, "timeout": timeout}, junit, json=json)
    return STOPPED if stopped else int(any(finding.status == "failed" for finding in found))


async def _run(steps: Sequence[Step], target: Target, found: list[Finding], *, quiet: bool) -> None:
    with terminal.progress() as bar:
        task = bar.add_task("scenario", total=sum(step.message is not None for step in steps))
        async for finding in scenario.findings(steps, target):
            found.append(finding)
            bar.advance(task)
            if not quiet:
                with terminal.paused(bar):
                    terminal.verdict(finding.status, f"{finding.title}: {finding.seen}")


def _report(url: str, found: Sequence[Finding], used: dict[str, Any], junit: Path | None, *, json: bool) -> None:
    if json:
        terminal.as_json(reports.as_dict(url, found, used))
    else:
        terminal.say(f"\n{url}: {reports.summary(found)}")
    if junit:
        options.write(junit, reports.junit(url, found, used))
