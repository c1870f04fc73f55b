"""`python -m worker dead replay` and `dead drop`: a preview, then one after the other, with progress and a reason."""

import sys
from typing import Annotated, Any

import typer
from arq.connections import ArqRedis
from rich.console import Console
from rich.progress import Progress as Bar

from receiver.command import AsJson, confirmed
from receiver.environment import SettingsError
from receiver.figures import read as read_figures
from receiver.queue.keys import Keys
from receiver.visible import to_json
from worker import bulk, dead_reports
from worker.changes import Change, user
from worker.choosing import (
    All,
    Choice,
    Handler,
    Ids,
    Kind,
    OlderThan,
    Reason,
    Type,
    Where,
    Why,
    chosen_letters,
    filter_of,
)
from worker.command import with_operator, with_redis
from worker.dead_letters import Operator

SHOWN = 5
"""Lines about payloads that could not be had."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def replay(
    ids: Ids = None,
    every: All = False,
    handler: Handler = None,
    type_: Type = None,
    kind: Kind = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    where: Where = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only tell what would run.")] = False,
    per_minute: Annotated[float, typer.Option(min=0, help="At most so many in a minute, evenly; 0 for no limit.")] = 0,
    yes: Yes = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Run dead letters again, each with its whole budget, in the order in which their events were accepted."""
    choice = Choice(ids or [], filter_of(handler, type_, kind, reason, older_than, where), every)
    if preview:
        _preview(choice, as_json=as_json)
        return
    _in_bulk("replay", "replayed", choice, why, yes=yes, as_json=as_json, per_minute=per_minute)


def drop(
    ids: Ids = None,
    every: All = False,
    handler: Handler = None,
    type_: Type = None,
    kind: Kind = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    where: Where = None,
    yes: Yes = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Forget dead letters for ever, payloads and all."""
    choice = Choice(ids or [], filter_of(handler, type_, kind, reason, older_than, where), every)
    _in_bulk("drop", "dropped", choice, why, yes=yes, as_json=as_json)


def _tell(change: Change, **more: Any) -> None:
    with_redis(lambda redis, keys: change.tell(redis, keys, **more))


def _preview(choice: Choice, *, as_json: bool) -> None:
    async def look(redis: ArqRedis, keys: Keys) -> list[dict[str, Any]]:
        letters = await chosen_letters(Operator(redis, keys), choice)
        return bulk.preview(letters, (await read_figures(redis, keys)).handlers())

    rows = with_redis(look)
    if as_json:
        typer.echo(to_json(rows))
        return
    dead_reports.print_preview(rows)


def _in_bulk(
    verb: str, done: str, choice: Choice, why: str, *, yes: bool, as_json: bool, per_minute: float = 0
) -> None:
    """Do what the verb says to all that were chosen. After Ctrl-C those that are left are as they were."""
    letters = with_operator(lambda operator: chosen_letters(operator, choice))
    if len(letters) > 1 and not yes:
        if not confirmed(f"{verb} {len(letters)} dead letters?", f"none of {len(letters)} dead letters is {done}"):
            raise typer.Exit(1)
        if not why and sys.stdin.isatty():
            why = typer.prompt("why", default="", show_default=False, err=True)

    change = Change(verb, user(), why[:300], choice.about, "command")
    _tell(change, state="begun", chosen=len(letters))
    progress = bulk.Progress(len(letters))

    async def all_of_them(operator: Operator) -> None:
        nonlocal progress
        terminal = Console(stderr=True)
        with Bar(console=terminal, disable=not terminal.is_terminal or len(letters) < 2) as bar:  # noqa: PLR2004
            task = bar.add_task(verb, total=len(letters))
            async for progress in bulk.run(operator, verb, letters, per_minute):
                bar.update(task, completed=progress.tried)

    stopped = False
    try:
        with_operator(all_of_them)
    except KeyboardInterrupt:
        stopped = True
    _tell(change, state="stopped" if stopped else "done", done=progress.done, chosen=len(letters))
    told = {done: progress.done, "chosen": len(letters)}
    typer.echo(to_json(told) if as_json else f"{done} {progress.done} of {len(letters)}")
    if progress.elsewhere:
        more = [f"and {len(progress.elsewhere) - SHOWN} more"] if len(progress.elsewhere) > SHOWN else []
        raise SettingsError(*progress.elsewhere[:SHOWN], *more)
    if stopped:
        raise typer.Exit(INTERRUPTED)
