"""`python -m worker [run]`, `console`, `healthy`, `status`, `tail`, `show`, `replay`, `try`, `dead …` and others."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any

import structlog
import typer
from arq.connections import ArqRedis

from receiver import command, logs
from receiver.command import AsJson
from receiver.environment import SettingsError, load
from receiver.events import storable
from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.queue.keys import Keys
from receiver.settings import Settings, SpoolSettings
from receiver.spool.overview import overview
from receiver.variables import strays
from receiver.visible import to_json, visible
from worker import anomalies, bulk_command, importing, process, reports, trying
from worker import app as worker_app
from worker import healthy as health
from worker.changes import Change, user
from worker.choosing import Handler, Type, Why
from worker.command import with_operator, with_redis
from worker.console.settings import ConsoleSettings
from worker.dead_command import dead
from worker.dead_letters import Operator
from worker.settings import WorkerSettings
from worker.status import status as status_of
from worker.story import find
from worker.tail import EVERY, Tail
from worker.waiting import in_words

log = structlog.get_logger()
app = typer.Typer(help="Runs the handlers, and shows and replays what they did.", add_completion=False)
dead.command()(bulk_command.replay)
dead.command()(bulk_command.drop)
app.add_typer(dead, name="dead")
app.add_typer(anomalies.doubtful, name="doubtful")
app.command()(anomalies.gaps)
app.command()(anomalies.drift)


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
    table = importing.load(config.handlers)
    for line in strays():  # own settings are known by now
        log.warning("a name in .env is no setting", told=line)
    if not table.by_name:  # no mistake of whoever only wants to see what arrives
        log.warning("HANDLERS has no handler: events are stored, and nothing is done with them")
    process.run(lambda within: worker_app.run(config, table, within))


@app.command()
def console() -> None:
    """Run the private server: the console's pages, /metrics and /healthz."""
    from worker.console import app as console_app  # noqa: PLC0415 - no other command needs templates

    config = load(ConsoleSettings)
    logs.configure(config.log_format, config.log_level, "console")
    os.nice(10)  # who accepts and handles on this machine comes first
    for number in (signal.SIGINT, signal.SIGTERM):  # until the server runs
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
    story = with_operator(lambda operator: _found(operator, delivery))
    if as_json:
        typer.echo(to_json(story))
        return
    reports.print_story(story, trace=trace)


@app.command()
def replay(
    delivery: Annotated[str, typer.Argument(help="A delivery's id, or its event id.")],
    handler: Handler = None,
    force: Annotated[bool, typer.Option("--force", help="Run even what is done or skipped.")] = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Run a delivery's handlers again: those that are dead or waiting, and with --force the others, too."""

    async def act(redis: ArqRedis, keys: Keys) -> dict[str, str]:
        operator = Operator(redis, keys)
        story = await _found(operator, delivery)
        handlers = story["handlers"]
        if handler is not None and handler not in handlers:
            raise SettingsError(f"--handler: {handler!r} has no part in this delivery; it has {', '.join(handlers)}")
        done = {}
        for name, told in handlers.items():
            if handler in {None, name}:
                done[name] = await _replay_one(operator, story["delivery"], name, told, force=force)
        if replayed := [f"{story['delivery']}:{name}" for name, result in done.items() if result == "replayed"]:
            await Change("replay", user(), why[:300], ", ".join(replayed), "command").tell(
                redis, keys, done=len(replayed)
            )
        return done

    results = with_redis(act)
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
    spooled = overview(load(SpoolSettings).spool_path).waiting
    told = with_redis(lambda redis, keys: status_of(redis, keys, spooled))
    if as_json:
        typer.echo(to_json(told))
    else:
        reports.print_status(told)


@app.command()
def tail(handler: Handler = None, type_: Type = None, as_json: AsJson = False) -> None:
    """Tell what happens, as it happens, until Ctrl-C: acceptances, outcomes, retries, dead letters."""

    async def follow(redis: ArqRedis, keys: Keys) -> None:
        followed, is_away = Tail(redis, keys), False
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
        with_redis(follow)


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
    logs.configure(config.log_format, config.log_level, "try", streams=logs.OF_COMMAND)
    deliveries = with_operator(lambda operator: trying.last_kept(operator, last, type_))
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


if __name__ == "__main__":
    command.run(app)
