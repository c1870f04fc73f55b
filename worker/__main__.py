"""`python -m worker [run]`, `show`, `replay`, `dead list|show|replay|drop`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from receiver import command, content, logs
from receiver.delivery import Delivery
from receiver.environment import SettingsError, duration, load
from receiver.events import storable
from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.queue.keys import Keys
from receiver.settings import Settings
from receiver.visible import to_json, visible, visible_lines
from worker import app as worker_app
from worker import process, routes
from worker.dead_letters import DeadLetter, Filter, Operator, PayloadElsewhere, find
from worker.settings import WorkerSettings
from worker.waiting import in_words

T = TypeVar("T")
PAYLOAD = 4000
"""Characters of a payload that `dead show` prints."""
SHOWN = 5
"""Lines about payloads that could not be had."""
PAYLOADS_AHEAD = 10
"""Payloads in files that a bulk replay asks for at once: they are in Redis until their turn comes."""
app = typer.Typer(help="Runs the handlers, and shows and replays what they did.", add_completion=False)
dead = typer.Typer(help="Dead letters and conflicts: kept until someone replays or drops them.")
app.add_typer(dead, name="dead")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Handler = Annotated[str | None, typer.Option(help="Only this handler, such as teams.notify.")]
Type = Annotated[str | None, typer.Option(help="Only this event type.")]
Kind = Annotated[str | None, typer.Option(help="Only this kind: dead, conflict or job.")]
Reason = Annotated[str | None, typer.Option(help="Only those whose reason contains this.")]
OlderThan = Annotated[str | None, typer.Option(help="Only those older than this, such as 30m or 7d.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids of dead letters, as `dead list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All that match, instead of ids.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        run()


@app.command()
def run() -> None:
    """Run the worker (the default command)."""
    config = load(WorkerSettings)
    logs.configure(config.log_format, config.log_level, "worker")
    table = routes.load(config.handlers)
    process.run(lambda within: worker_app.run(config, table, within))


@app.command()
def show(
    delivery: Annotated[str, typer.Argument(help="A delivery's id, or its event id.")], as_json: AsJson = False
) -> None:
    """Tell a delivery's whole story."""
    story = _with_operator(lambda operator: _found(operator, delivery))
    if as_json:
        typer.echo(to_json(story))
        return
    console = Console(emoji=False)
    for name in ("delivery", "key", "source", "type", "sha256", "first_seen", "duplicates", "conflicts"):
        console.print(f"{name:<12} {visible(str(story[name]))}", markup=False, highlight=False)
    kept = "kept for replay" if story["payload_kept"] else "waits with its work" if story["open"] else "no longer kept"
    console.print(f"{'payload':<12} {kept}", markup=False)
    table = Table("handler", "state", "attempts", "at", "last failure")
    for handler, told in story["handlers"].items():
        failure = told["failures"][-1]["error"] if told["failures"] else ""
        state = f"skipped: {told['skipped']}" if told["state"] == "skipped" else told["state"]
        state = in_words(told["waits"]) if told["waits"] else state
        table.add_row(*_cells(handler, state, told["attempts"], told["at"], failure))
    console.print(table)


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


@dead.command("list")
def dead_list(
    handler: Handler = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only this event type.")] = None,
    kind: Kind = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters and conflicts, oldest first."""
    which = _filter(handler, type_, kind, reason, older_than)
    letters = _with_operator(lambda operator: _matching(operator, which))
    if as_json:
        typer.echo(to_json([letter.summary() for letter in letters]))
        return
    table = Table("id", "kind", "handler", "type", "tries", "at", "reason")
    for letter in letters:
        row = letter.summary()
        table.add_row(*_cells(*(row[name] for name in ("id", "kind", "handler", "type", "tries", "at", "reason"))))
    Console().print(table if letters else "no dead letters")


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
        _print_letter(letter, "none: this is no delivery of the kit" if delivery is None else _text(delivery))


def _text(delivery: Delivery) -> str:
    """The payload once unpacked, and the body as it was received where that is no event."""
    try:
        _, text = content.read(delivery.headers, delivery.body, load(Settings).max_body_bytes)
    except content.Unreadable:
        text = delivery.body
    return text.decode("utf-8", "backslashreplace")


def _print_letter(letter: DeadLetter, payload: str) -> None:
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    for name, value in letter.summary().items():
        console.print(f"{name:<10} {visible(str(value))}")
    console.print(f"{'payload':<10} " + visible_lines(payload, PAYLOAD).replace("\n", f"\n{'':<10} "))
    if len(payload) > PAYLOAD:
        typer.echo(f"the payload is cut: {PAYLOAD} of {len(payload)} characters; --json or --raw for all", err=True)


@dead.command("replay")
def dead_replay(
    ids: Ids = None,
    every: All = False,
    handler: Handler = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only this event type.")] = None,
    kind: Kind = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Run dead letters again, each with its whole budget."""
    which = _filter(handler, type_, kind, reason, older_than)
    choice = _Choice(ids or [], which, every)
    _in_bulk("replay", "replayed", Operator.replay_letter, choice, yes=yes, as_json=as_json, ahead=PAYLOADS_AHEAD)


@dead.command("drop")
def dead_drop(
    ids: Ids = None,
    every: All = False,
    handler: Handler = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only this event type.")] = None,
    kind: Kind = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget dead letters for ever, payloads and all."""
    which = _filter(handler, type_, kind, reason, older_than)
    _in_bulk("drop", "dropped", Operator.drop, _Choice(ids or [], which, every), yes=yes, as_json=as_json)


class _Choice(NamedTuple):
    ids: Sequence[str]
    which: Filter
    every: bool


def _in_bulk(
    verb: str,
    done: str,
    act: Callable[[Operator, DeadLetter], Awaitable[bool]],
    choice: _Choice,
    *,
    yes: bool,
    as_json: bool,
    ahead: int = 0,
) -> None:
    """Do to all that were chosen what `act` does; payloads that are in files are asked for so many `ahead`."""
    letters = _with_operator(lambda operator: _chosen(operator, choice))
    if len(letters) > 1 and not yes and not typer.confirm(f"{verb} {len(letters)} dead letters?", err=True):
        raise typer.Exit(1)

    elsewhere: list[str] = []

    async def all_of_them(operator: Operator) -> int:
        progress = Console(stderr=True)
        bar = track(letters, verb, console=progress, disable=not progress.is_terminal or len(letters) < 2)  # noqa: PLR2004
        count = 0
        for number, letter in enumerate(bar):
            if ahead and number % ahead == 0:
                await operator.ask_for(letters[number : number + ahead])
            try:
                count += await act(operator, letter)
            except PayloadElsewhere as error:
                elsewhere.append(str(error))
        return count

    count = _with_operator(all_of_them)
    typer.echo(to_json({done: count, "chosen": len(letters)}) if as_json else f"{done} {count} of {len(letters)}")
    if elsewhere:
        more = [f"and {len(elsewhere) - SHOWN} more"] if len(elsewhere) > SHOWN else []
        raise SettingsError(*elsewhere[:SHOWN], *more)


def _cells(*values: object) -> list[Text]:
    """Texts for a row of a table."""
    return [Text(visible(str(value))) for value in values]


async def _chosen(operator: Operator, choice: _Choice) -> list[DeadLetter]:
    if not choice.ids:
        if not choice.every and choice.which == Filter():
            raise SettingsError("expected ids of dead letters, a filter such as --handler, or --all")
        return await _matching(operator, choice.which)
    letters = [(dead_id, await operator.letter(storable(dead_id))) for dead_id in choice.ids]
    unknown = [dead_id for dead_id, letter in letters if letter is None]
    if unknown:
        advice = "no such dead letter; `python -m worker dead list` shows them"
        raise SettingsError(*(f"{dead_id}: {advice}" for dead_id in unknown))
    return [letter for _, letter in letters if letter is not None]


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
    handler: str | None, type_: str | None, kind: str | None, reason: str | None, older_than: str | None
) -> Filter:
    try:
        return Filter(handler, type_, kind, reason, duration(older_than))
    except ValueError as error:
        raise SettingsError(f"--older-than: {error}, got {older_than!r}") from None


def _with_operator(act: Callable[[Operator], Awaitable[T]]) -> T:
    """What `act` makes of the deliveries in Redis; Redis being away is one line."""
    config = load(Settings)

    async def connected() -> T:
        redis = connect(config.redis_url.get_secret_value())
        try:
            return await act(Operator(redis, Keys(config.key_prefix)))
        except PayloadElsewhere as error:
            raise SettingsError(str(error)) from None
        except REDIS_ERRORS as error:
            raise SettingsError(f"REDIS_URL: Redis does not answer ({error}); is it running?") from None
        finally:
            await redis.aclose()

    return asyncio.run(connected())


if __name__ == "__main__":
    command.run(app)
