"""`python -m worker dead …`: dead letters and conflicts, in groups and one by one, and what is done to them."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from arq.connections import ArqRedis

from receiver import content, logs
from receiver.command import AsJson
from receiver.delivery import Delivery
from receiver.environment import SettingsError, load
from receiver.queue.keys import Keys
from receiver.settings import Settings
from receiver.visible import to_json, visible
from worker import dead_reports, failing_test, notes, trying
from worker.changes import Change, user
from worker.choosing import Choice, Handler, Kind, OlderThan, Reason, Type, Where, chosen_letters, filter_of, matching
from worker.command import with_operator, with_redis
from worker.console.payload import Masking
from worker.console.settings import ConsoleSettings
from worker.dead_letters import Operator
from worker.groups import grouped
from worker.letter import DeadLetter, Filter
from worker.settings import WorkerSettings

ANSWERS = (200, 400, 404, 409, 422, 500)
"""What a handler's requests may have been answered when it failed, where its reason does not say."""
dead = typer.Typer(help="Dead letters and conflicts: kept until someone replays or drops them.")


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
    which = filter_of(handler, type_, kind, reason, older_than, where)
    letters, dead_ids = with_operator(lambda operator: _listed(operator, which))
    if as_json:
        typer.echo(to_json([letter.summary() for letter in letters]))
        return
    dead_reports.print_letters(letters, dead_ids)


async def _listed(operator: Operator, which: Filter) -> tuple[list[DeadLetter], list[str]]:
    return await matching(operator, which), await operator.dead_ids()


@dead.command("groups")
def dead_groups(where: Where = None, as_json: AsJson = False) -> None:
    """List what has failed: by handler and error, the largest first. `--where group=ID` means all of one group."""
    which = filter_of(where=where)
    groups = with_redis(lambda redis, keys: _groups(redis, keys, which))
    if as_json:
        typer.echo(to_json(groups))
        return
    dead_reports.print_groups(groups)


async def _groups(redis: ArqRedis, keys: Keys, which: Filter) -> list[dict[str, Any]]:
    groups = [group.summary() for group in grouped(await matching(Operator(redis, keys), which))]
    noted = await notes.read(redis, keys, [group["group"] for group in groups])
    return [group | (noted[group["group"]]._asdict() if group["group"] in noted else {}) for group in groups]


@dead.command("note")
def dead_note(
    group: Annotated[str, typer.Argument(help="The group's id, as `dead groups` shows it.")],
    text: Annotated[str, typer.Option(help="What it is, what is done about it.")] = "",
    owner: Annotated[str, typer.Option(help="Who looks after it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Note something of a group, for everybody who looks at it; without --text and --owner its note is taken away."""
    if re.fullmatch("[0-9a-f]{8}", group) is None:
        raise SettingsError(f"{group}: expected a group's id of eight digits, as `dead groups` shows it")

    async def write(redis: ArqRedis, keys: Keys) -> None:
        await notes.write(redis, keys, group, text, owner, user())
        await Change("note", user(), text[:300], f"group {group}", "command").tell(redis, keys, owner=owner)

    with_redis(write)
    typer.echo(to_json({"group": group, "text": text, "owner": owner}) if as_json else f"{group}: noted")


@dead.command("show")
def dead_show(
    dead_letter: Annotated[str, typer.Argument(help="Its id.")],
    as_json: AsJson = False,
    raw: Annotated[bool, typer.Option("--raw", help="Write the payload as it was received, byte for byte.")] = False,
) -> None:
    """Show one dead letter with its payload."""
    if raw and sys.stdout.isatty():
        raise SettingsError("--raw: expected a file or a pipe: what was received may hold codes that a terminal obeys")

    letter = with_operator(lambda operator: _with_payload(operator, dead_letter))
    delivery = letter.received()
    if raw:
        if delivery is None:
            raise SettingsError(f"{dead_letter}: holds no delivery, so there is no payload")
        sys.stdout.buffer.write(delivery.body)
    elif as_json:
        typer.echo(to_json(letter.summary() | {"payload": None if delivery is None else _text(delivery)}))
    else:
        dead_reports.print_letter(
            letter, "none: this is no delivery of the kit" if delivery is None else _text(delivery)
        )


def _text(delivery: Delivery) -> str:
    """The payload once unpacked, and the body as it was received where that is no event."""
    try:
        _, text = content.read(delivery.headers, delivery.body, load(Settings).max_body_bytes)
    except content.Unreadable:
        text = delivery.body
    return text.decode("utf-8", "backslashreplace")


@dead.command("save-test")
def dead_save_test(
    dead_letter: Annotated[str, typer.Argument(help="Its id.")],
    keep: Annotated[
        list[str] | None, typer.Option(help="A payload path whose value is not redacted; repeatable.")
    ] = None,
    answer: Annotated[
        int | None,
        typer.Option(min=200, max=599, help="What the handler's requests were answered; unset, it is found."),
    ] = None,
    into: Annotated[Path, typer.Option(help="The folder that your package is in.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Write over an earlier test of it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a redacted sample and a pytest that fails now, beside the handler. Exit code 1 when it does not fail."""
    config = load(WorkerSettings)
    logs.configure(config.log_format, config.log_level, "save-test", streams=logs.OF_COMMAND)
    masking = Masking(load(ConsoleSettings).masks(), config)
    letter = with_operator(lambda operator: _with_payload(operator, dead_letter))
    delivery = letter.received()
    if letter.kind != "dead" or "." not in letter.handler or delivery is None:
        raise SettingsError(f"{dead_letter}: expected a dead letter of a handler: this is none ({letter.kind})")
    sample = masking.sample(delivery, keep or [])
    redacted = delivery._replace(headers={}, body=to_json(sample).encode())
    answers = [answer] if answer else [*filter(None, [failing_test.answered(letter.reason)]), *ANSWERS]
    with trying.alone() as redis_url:
        handler = trying.find_handler(letter.handler, config.handlers)
        told = asyncio.run(trying.as_it_failed(handler, redacted, config, redis_url, answers, letter.reason))
    if told is None:
        typer.echo(
            f"{letter.handler} does not fail for its redacted sample: is it mended, or does it need a value that is "
            "redacted? Name its path: --keep action.title",
            err=True,
        )
        raise typer.Exit(1)
    made = failing_test.make(letter, sample, handler.__module__, config, told["answer"])
    files = made.write(into, force=force)
    if as_json:
        about = {name: told[name] for name in ("answer", "state", "reason", "as_it_was")}
        typer.echo(to_json({"files": files, **about}))
        return
    otherwise = "" if told["as_it_was"] else f", not as it died: {visible(letter.reason)}"
    typer.echo("\n".join([*files, f"it fails now: {visible(told['reason'])}{otherwise}"]))
    typer.echo(f"Read both before you commit them; mend the handler until it passes: .venv/bin/pytest {files[0]}")


async def _with_payload(operator: Operator, name: str) -> DeadLetter:
    [chosen] = await chosen_letters(operator, Choice([name], Filter(), every=False))
    return await operator.with_payload(chosen)
