"""lifecycle: sends consistent stories of Work Orders and Actions to webhooks, in time."""

import asyncio
import json as jsonlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from examples.sender import terminal
from examples.sender.commands import options
from examples.sender.commands.options import STOPPED, Folder, Headers, Json, Map, Remove, Secret, Set, TimeOut, To
from examples.sender.http import delivery
from examples.sender.http.message import Message
from examples.sender.payload_map import PayloadMap
from examples.sender.play import webhooks
from examples.sender.play.disorder import Disorder, Due
from examples.sender.play.edits import Edits
from examples.sender.play.endpoints import Endpoint, Policy, endpoints
from examples.sender.play.life_cycles import Happening, life_cycles, told_with
from examples.sender.play.webhooks import Webhook
from examples.sender.terminal import Refusal
from receiver import events

_BEGINS = datetime(2026, 11, 3, 6, tzinfo=UTC)  # fixed for seeded runs, so that their bytes are equal
_MOST = 100_000  # Work Orders: all are made before the first event is sent


def lifecycle(
    *,
    to: To = None,
    webhook: Annotated[list[str] | None, typer.Option(metavar="TYPE,…=URL", help="A webhook; again for more.")] = None,
    webhooks_file: Annotated[Path | None, typer.Option("--webhooks", help="A TOML file of them.")] = None,
    sites: Annotated[int, typer.Option(min=1, max=1000, help="Sites that work in parallel.")] = 1,
    work_orders: Annotated[int, typer.Option(min=1, max=10000, help="Work Orders at each site.")] = 3,
    speed: Annotated[float, typer.Option(min=0, help="Times real time; 0 is without waiting.")] = 3600.0,
    duplicate: Annotated[float, typer.Option(min=0, max=1, help="Share of events that come twice.")] = 0.0,
    delay: Annotated[float, typer.Option(min=0, max=1, help="Share that comes up to 5 s late.")] = 0.0,
    drop: Annotated[float, typer.Option(min=0, max=1, help="Share that never comes.")] = 0.0,
    shuffle: Annotated[int, typer.Option(min=0, help="Neighbours that may change places.")] = 0,
    retries: Annotated[str, typer.Option(help="Seconds before each retry; empty for none.")] = "1,5,30",
    retold: Annotated[bool, typer.Option("--retold", help="Retries differ in their bytes.")] = False,
    disable_after: Annotated[int, typer.Option(min=0, help="Failures in a row that disable; 0: never.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent, a line each; send nothing.")
    ] = False,
    changes: Set = None,
    remove: Remove = None,
    samples: Folder = None,
    payload_map: Map = None,
    header: Headers = None,
    secret: Secret = None,
    seed: Annotated[int | None, typer.Option(help="Repeat the same stories, bytes and disorder.")] = None,
    timeout: TimeOut = delivery.TIMEOUT,
    json: Json = False,
) -> int:
    """Send stories of Work Orders and Actions, each event to every webhook with its type."""
    if sites * work_orders > _MOST:
        raise Refusal(f"--sites times --work-orders: expected at most {_MOST}")
    number = Random().getrandbits(32) if seed is None else seed
    happenings = life_cycles(number, sites, work_orders, datetime.now(UTC) if seed is None else _BEGINS)
    chosen = options.samples(samples, payload_map)
    if samples:
        happenings = told_with(happenings, chosen, number)
    edits = Edits(changes, remove, [happening.payload for happening in happenings])
    for happening in happenings:
        edits.apply(happening.payload)
    extra = options.headers(header)
    schedule = [Due(due, message.having(extra)) for due, message in _schedule(happenings, speed, chosen.where)]
    due, disorder = Disorder(duplicate, delay, drop, shuffle).of(schedule, Random(number))
    if dry_run:
        hooks = _webhooks(None, webhook, webhooks_file) if webhook or webhooks_file else []
        for one in due:
            if not hooks or any(one.message.type in hook.types for hook in hooks):
                terminal.json_line(jsonlib.loads(one.message.body))
        return 0
    policy = Policy(_waits(retries), not retold, disable_after, timeout)
    targets = endpoints(_webhooks(to, webhook, webhooks_file), policy, options.signer(secret))
    stopped = options.until_stopped(_tell(due, targets, wait=speed > 0))
    _report(targets, policy, number, disorder, chosen.note, stopped=stopped, json=json)
    return STOPPED if stopped else 1 if any(target.report.failed or target.report.skipped for target in targets) else 0


def _schedule(happenings: Sequence[Happening], speed: float, where: PayloadMap) -> Iterator[tuple[float, Message]]:
    """(seconds from the start, message) for each event."""
    first = happenings[0].at
    for one in happenings:
        yield (one.at - first).total_seconds() / speed if speed else 0.0, Message.of(one.payload, where)


async def _tell(due: Sequence[Due], targets: Sequence[Endpoint], *, wait: bool) -> None:
    begun = time.monotonic()
    with terminal.progress() as bar:
        task = bar.add_task("life cycles", total=len(due))
        async with delivery.client() as client, asyncio.TaskGroup() as group:
            for one in due:
                if wait and (left := one.at - (time.monotonic() - begun)) > 0:
                    await asyncio.sleep(left)
                sent = [
                    group.create_task(target.deliver(client, one.message))
                    for target in targets
                    if one.message.type in target.webhook.types
                ]
                if not wait and sent:
                    await asyncio.wait(sent)  # keep the order even without pauses
                bar.advance(task)


def _webhooks(to: str | None, flags: Sequence[str] | None, file: Path | None) -> list[Webhook]:
    listed = [webhooks.from_flag(flag) for flag in flags or ()] + (webhooks.from_file(file) if file else [])
    if to and not listed:
        listed = [Webhook(frozenset(events.BY_NAME), options.endpoint(to))]
    if not listed:
        raise Refusal("where to? Expected --to URL, --webhook TYPE,TYPE=URL or --webhooks FILE")
    return listed


def _waits(text: str) -> tuple[float, ...]:
    try:
        waits = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        waits = (-1.0,)
    if any(not 0 <= wait <= 86400 for wait in waits):  # noqa: PLR2004 - a day
        raise Refusal(f"--retries {text}: expected seconds separated by commas, such as 1,5,30")
    return waits


def _report(
    targets: Sequence[Endpoint],
    policy: Policy,
    seed: int,
    disorder: Counter[str],
    note: str,
    *,
    stopped: bool,
    json: bool,
) -> None:
    reports = [target.report for target in targets]
    if json:
        used = {"seed": seed, **asdict(policy), "disorder": dict(disorder)}
        endpoints_told = [report.as_dict() for report in reports]
        told = {"note": note, "stopped": stopped, "settings": used, "endpoints": endpoints_told}
        terminal.as_json(told)
        return
    rows = [
        (
            terminal.without_secrets(report.url), str(report.delivered), str(report.failed), str(report.skipped),
            str(report.requests), str(report.ambiguous), f"{report.slowest * 1000:.0f} ms",
            "disabled" if report.disabled else "", report.last_failure,
        )
        for report in reports
    ]  # fmt: skip
    terminal.table(
        ("ENDPOINT", "DELIVERED", "FAILED", "NOT SENT", "REQUESTS", "AMBIGUOUS", "SLOWEST", "STATE", "LAST FAILURE"),
        rows,
    )
    if stopped:
        terminal.say("stopped before the end")
    suffered = ", ".join(f"{count} {what}" for what, count in disorder.items() if count) or "none"
    waits = ", ".join(f"{wait:g} s" for wait in policy.retries) or "none"
    disabling = f"after {policy.disable_after} failures in a row" if policy.disable_after else "off"
    alike = "" if not policy.retries else ", byte-identical" if policy.byte_identical else ", told anew"
    terminal.say(
        f"seed {seed}; disorder: {suffered}; retries after: {waits}{alike}; disabling: {disabling}; "
        f"timeout {policy.timeout:g}"
    )
