"""`python -m worker [run]`, `console`, `healthy`, `tail`, `show`, `replay`, `dead …`, `doubtful …`, `gaps`, `drift`."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, NamedTuple, TypeVar

import structlog
import typer
from arq.connections import ArqRedis
from rich.console import Console
from rich.progress import Progress as Bar

from receiver import command, content, logs
from receiver.delivery import Delivery
from receiver.environment import SettingsError, load, strays
from receiver.events import storable
from receiver.figures import read as read_figures
from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.queue.keys import Keys
from receiver.settings import Settings, SpoolSettings
from receiver.spool.overview import overview
from receiver.visible import to_json, visible
from worker import anomalies, bulk, ids, process, reports, routes, trying
from worker import app as worker_app
from worker import healthy as health
from worker.console.settings import ConsoleSettings
from worker.dead_letters import Operator, PayloadElsewhere, find
from worker.letter import DeadLetter, Filter, grouped
from worker.settings import WorkerSettings
from worker.status import status as status_of
from worker.tail import EVERY, Tail
from worker.waiting import in_words

log = structlog.get_logger()
T = TypeVar("T")
SHOWN = 5
"""Lines about payloads that could not be had."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
app = typer.Typer(help="Runs the handlers, and shows and replays what they did.", add_completion=False)
dead = typer.Typer(help="Dead letters and conflicts: kept until someone replays or drops them.")
app.add_typer(dead, name="dead")
app.add_typer(anomalies.doubtful, name="doubtful")
app.command()(anomalies.gaps)
app.command()(anomalies.drift)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Handler = Annotated[str | None, typer.Option(help="Only this handler, such as teams.notify.")]
Type = Annotated[str | None, typer.Option("--type", help="Only this event type.")]
Kind = Annotated[str | None, typer.Option(help="Only this kind: dead, conflict or job.")]
Reason = Annotated[str | None, typer.Option(help="Only those whose reason contains this.")]
OlderThan = Annotated[str | None, typer.Option(help="Only those older than this, such as 30m or 7d.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=VALUE, all that are given: handler, type, kind, reason, group, delivery, older_than, newer_than."
    ),
]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids of dead letters, as `dead list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All that match, instead of ids.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        run()


@app.command()
def run(
    reload: Annotated[bool, typer.Option("--reload", help="Start again whenever your files or `.env` change.")] = False,
) -> None:
    """Run the worker (the default command)."""
    if reload:
        from receiver.reload import run_again  # noqa: PLC0415 - who develops needs it, and no other start waits for it

        raise typer.Exit(run_again("worker", "run"))
    config = load(WorkerSettings)
    logs.configure(config.log_format, config.log_level, "worker")
    table = routes.load(config.handlers)
    for line in strays():  # own settings are known by now
        log.warning("a name in .env is no setting", told=line)
    process.run(lambda within: worker_app.run(config, table, within))


@app.command()
def console() -> None:
    """Run the private server: the console's pages, /metrics and /healthz."""
    from worker.console import app as console_app  # noqa: PLC0415 - no other command needs templates

    config = load(ConsoleSettings)
    logs.configure(config.log_format, config.log_level, "console")
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn ends in order and then raises what it caught once more
        signal.signal(number, lambda *_: sys.exit(0))
    console_app.serve(config)


@app.command()
def healthy(as_json: AsJson = False) -> None:
    """Tell whether the worker of this host does its work. Exit code 1 when it does not."""
    config = load(Settings)

    async def asked() -> health.Health:
        redis = connect(config.redis_url.get_secret_value(), timeout=2, retries=1)
        try:
            return await health.look(redis, Keys(config.key_prefix))
        finally:
            await redis.aclose()

    found = asyncio.run(asked())
    typer.echo(to_json(found._asdict()) if as_json else f"{'healthy' if found.healthy else 'not healthy'}: {found.why}")
    if not found.healthy:
        raise typer.Exit(1)


@app.command()
def show(
    delivery: Annotated[str, typer.Argument(help="A delivery's id, or its event id.")],
    trace: Annotated[bool, typer.Option("--trace", help="And the lines on the way to where a handler failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell a delivery's whole story."""
    story = _with_operator(lambda operator: _found(operator, delivery))
    if as_json:
        typer.echo(to_json(story))
        return
    reports.print_story(story, trace=trace)


@app.command()
def replay(
    delivery: Annotated[str, typer.Argument(help="A delivery's id, or its event id.")],
    handler: Handler = None,
    force: Annotated[bool, typer.Option("--force", help="Run even what is done or skipped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a delivery's handlers again: those that are dead or waiting, and with --force the others, too."""

    async def act(operator: Operator) -> dict[str, str]:
        story = await _found(operator, delivery)
        handlers = story["handlers"]
        if handler is not None and handler not in handlers:
            raise SettingsError(f"--handler: {handler!r} has no part in this delivery; it has {', '.join(handlers)}")
        done = {}
        for name, told in handlers.items():
            if handler in {None, name}:
                done[name] = await _replay_one(operator, story["delivery"], name, told, force=force)
        return done

    results = _with_operator(act)
    if as_json:
        typer.echo(to_json(results))
    else:
        for name, result in results.items():
            typer.echo(f"{visible(name)}: {result}")
    if not any(result == "replayed" for result in results.values()):
        raise typer.Exit(1)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Tell what happened today and in the last hour, what is open, and what is tried again when."""
    config = load(Settings)
    spooled = overview(load(SpoolSettings).spool_path).waiting
    told = _with_redis(lambda redis: status_of(redis, Keys(config.key_prefix), spooled))
    if as_json:
        typer.echo(to_json(told))
    else:
        reports.print_status(told)


@app.command()
def tail(handler: Handler = None, type_: Type = None, as_json: AsJson = False) -> None:
    """Tell what happens, as it happens, until Ctrl-C: acceptances, outcomes, retries, dead letters."""
    config = load(Settings)

    async def follow(redis: ArqRedis) -> None:
        followed, is_away = Tail(redis, Keys(config.key_prefix)), False
        while True:
            try:
                lines, is_away = await followed.look(), False
            except REDIS_ERRORS as error:
                lines = []
                if not is_away:
                    typer.echo(f"REDIS_URL: Redis does not answer ({error}); waiting for it", err=True)
                is_away = True
            for line in lines:
                if type_ in {None, line["type"]} and handler in {None, line.get("handler")}:
                    typer.echo(to_json(line, None) if as_json else reports.tail_line(line))
            await asyncio.sleep(EVERY)

    with suppress(KeyboardInterrupt):
        _with_redis(follow)


@app.command("try")
def try_(
    handler: Annotated[str, typer.Argument(help="module:name, such as acme.handlers:page, or a name in HANDLERS.")],
    last: Annotated[int, typer.Option(min=1, help="On so many of the events that are kept, the newest.")] = 10,
    type_: Type = None,
    status: Annotated[int, typer.Option(min=200, max=599, help="What its HTTP requests are answered.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Run a handler on kept events without sending anything, and show what it would have done.

    Exit code 1 when it would have failed for one, or no event is kept.
    """
    config = load(WorkerSettings)
    logs.configure(config.log_format, config.log_level, "try")
    deliveries = _with_operator(lambda operator: trying.last_kept(operator, last, type_))
    with trying.alone() as redis_url:
        chosen = trying.find_handler(handler, config.handlers)
        told = asyncio.run(trying.run_all(chosen, deliveries, config, redis_url, status))
    if as_json:
        typer.echo(to_json(told))
    elif told:
        reports.print_tried(told)
    else:
        typer.echo("no event is kept (KEEP_PAYLOADS, KEEP_PAYLOADS_BYTES), and none of this type is dead", err=True)
    if not told or any(one["state"] not in {"done", "skipped"} for one in told):
        raise typer.Exit(1)


@dead.command("list")
def dead_list(
    handler: Handler = None,
    type_: Type = None,
    kind: Kind = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters and conflicts, oldest first."""
    which = _filter(handler, type_, kind, reason, older_than, where)
    letters, dead_ids = _with_operator(lambda operator: _listed(operator, which))
    if as_json:
        typer.echo(to_json([letter.summary() for letter in letters]))
        return
    reports.print_letters(letters, dead_ids)


@dead.command("groups")
def dead_groups(where: Where = None, as_json: AsJson = False) -> None:
    """List what has failed: by handler and error, the largest first. `--where group=ID` means all of one group."""
    which = _filter(where=where)
    groups = [group.summary() for group in grouped(_with_operator(lambda operator: _matching(operator, which)))]
    if as_json:
        typer.echo(to_json(groups))
        return
    reports.print_groups(groups)


@dead.command("show")
def dead_show(
    dead_letter: Annotated[str, typer.Argument(help="Its id.")],
    as_json: AsJson = False,
    raw: Annotated[bool, typer.Option("--raw", help="Write the payload as it was received, byte for byte.")] = False,
) -> None:
    """Show one dead letter with its payload."""
    if raw and sys.stdout.isatty():
        raise SettingsError("--raw: expected a file or a pipe: what was received may hold codes that a terminal obeys")

    async def look(operator: Operator) -> DeadLetter:
        [chosen] = await _chosen(operator, _Choice([dead_letter], Filter(), every=False))
        return await operator.with_payload(chosen)

    letter = _with_operator(look)
    delivery = letter.received()
    if raw:
        if delivery is None:
            raise SettingsError(f"{dead_letter}: holds no delivery, so there is no payload")
        sys.stdout.buffer.write(delivery.body)
    elif as_json:
        typer.echo(to_json(letter.summary() | {"payload": None if delivery is None else _text(delivery)}))
    else:
        reports.print_letter(letter, "none: this is no delivery of the kit" if delivery is None else _text(delivery))


def _text(delivery: Delivery) -> str:
    """The payload once unpacked, and the body as it was received where that is no event."""
    try:
        _, text = content.read(delivery.headers, delivery.body, load(Settings).max_body_bytes)
    except content.Unreadable:
        text = delivery.body
    return text.decode("utf-8", "backslashreplace")


@dead.command("replay")
def dead_replay(
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
    as_json: AsJson = False,
) -> None:
    """Run dead letters again, each with its whole budget, in the order in which their events were accepted."""
    choice = _Choice(ids or [], _filter(handler, type_, kind, reason, older_than, where), every)
    if preview:
        _preview(choice, as_json=as_json)
        return
    _in_bulk("replay", "replayed", choice, yes=yes, as_json=as_json, per_minute=per_minute)


@dead.command("drop")
def dead_drop(
    ids: Ids = None,
    every: All = False,
    handler: Handler = None,
    type_: Type = None,
    kind: Kind = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    where: Where = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget dead letters for ever, payloads and all."""
    choice = _Choice(ids or [], _filter(handler, type_, kind, reason, older_than, where), every)
    _in_bulk("drop", "dropped", choice, yes=yes, as_json=as_json)


class _Choice(NamedTuple):
    ids: Sequence[str]
    which: Filter
    every: bool


def _preview(choice: _Choice, *, as_json: bool) -> None:
    keys = Keys(load(Settings).key_prefix)

    async def look(redis: ArqRedis) -> list[dict[str, Any]]:
        letters = await _chosen(Operator(redis, keys), choice)
        return bulk.preview(letters, (await read_figures(redis, keys)).handlers())

    rows = _with_redis(look)
    if as_json:
        typer.echo(to_json(rows))
        return
    reports.print_preview(rows)


def _in_bulk(verb: str, done: str, choice: _Choice, *, yes: bool, as_json: bool, per_minute: float = 0) -> None:
    """Do what the verb says to all that were chosen. After Ctrl-C those that are left are as they were."""
    letters = _with_operator(lambda operator: _chosen(operator, choice))
    if len(letters) > 1 and not yes and not typer.confirm(f"{verb} {len(letters)} dead letters?", err=True):
        raise typer.Exit(1)

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
        _with_operator(all_of_them)
    except KeyboardInterrupt:
        stopped = True
    told = {done: progress.done, "chosen": len(letters)}
    typer.echo(to_json(told) if as_json else f"{done} {progress.done} of {len(letters)}")
    if progress.elsewhere:
        more = [f"and {len(progress.elsewhere) - SHOWN} more"] if len(progress.elsewhere) > SHOWN else []
        raise SettingsError(*progress.elsewhere[:SHOWN], *more)
    if stopped:
        raise typer.Exit(INTERRUPTED)


async def _chosen(operator: Operator, choice: _Choice) -> list[DeadLetter]:
    if not choice.ids:
        if not choice.every and choice.which == Filter():
            raise SettingsError("expected ids of dead letters, a filter such as --handler, or --all")
        return await _matching(operator, choice.which)
    known = await operator.dead_ids()
    meant = [(name, ids.the_one(storable(name), known)) for name in choice.ids]
    letters = [(name, await operator.letter(dead_id) if dead_id else None) for name, dead_id in meant]
    unknown = [dead_id for dead_id, letter in letters if letter is None]
    if unknown:
        advice = "no such dead letter; `python -m worker dead list` shows them"
        raise SettingsError(*(f"{dead_id}: {advice}" for dead_id in unknown))
    return [letter for _, letter in letters if letter is not None]


async def _listed(operator: Operator, which: Filter) -> tuple[list[DeadLetter], list[str]]:
    return await _matching(operator, which), await operator.dead_ids()


async def _matching(operator: Operator, which: Filter) -> list[DeadLetter]:
    return [letter async for letter in operator.letters(which)]


async def _found(operator: Operator, name: str) -> dict[str, Any]:
    rule = load(Settings).idempotency_rule()
    story = await find(operator, rule, storable(name))
    if story is None:
        raise SettingsError(f"{name}: no such delivery is remembered; expected a delivery's id or an event id")
    return story


async def _replay_one(operator: Operator, delivery: str, handler: str, told: dict[str, Any], *, force: bool) -> str:
    if told["state"] in {"done", "skipped"} and not force:
        return f"{told['state']} already; --force runs it again"
    if told["waits"]:
        return in_words(told["waits"])
    if await operator.replay_handler(delivery, handler, told["state"], told["attempts"]):
        return "replayed"
    if told["state"] == "retry":
        return "runs already"
    return "its payload is no longer kept (KEEP_PAYLOADS, KEEP_PAYLOADS_BYTES)"


def _filter(
    handler: str | None = None,
    type_: str | None = None,
    kind: str | None = None,
    reason: str | None = None,
    older_than: str | None = None,
    where: Sequence[str] | None = None,
) -> Filter:
    """What the options and each `--where` say together."""
    options = {"handler": handler, "type": type_, "kind": kind, "reason": reason, "older_than": older_than}
    words = {}
    for given in where or ():
        name, equals, value = given.partition("=")
        if not equals or not value:
            raise SettingsError(f"--where: expected NAME=VALUE, such as group=1f2e3d4c, got {given!r}")
        words[name.strip().replace("-", "_")] = value
    try:
        which = Filter.of({name: value for name, value in options.items() if value is not None})
    except SettingsError as error:
        raise SettingsError(*(f"--{line.replace('_', '-', 1)}" for line in error.lines)) from None
    try:
        return which.narrowed(words)
    except SettingsError as error:
        raise SettingsError(*(f"--where: {line}" for line in error.lines)) from None


def _with_operator(act: Callable[[Operator], Awaitable[T]]) -> T:
    """What `act` makes of the deliveries in Redis."""
    keys = Keys(load(Settings).key_prefix)
    return _with_redis(lambda redis: act(Operator(redis, keys)))


def _with_redis(act: Callable[[ArqRedis], Awaitable[T]]) -> T:
    """What `act` makes of Redis; its being away, or a payload's being elsewhere, is one line."""
    try:
        return command.with_redis(act)
    except PayloadElsewhere as error:
        raise SettingsError(str(error)) from None


if __name__ == "__main__":
    command.run(app)
