"""python -m examples.sender: list | send | all."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from examples.sender import delivery, edits, payloads, terminal
from examples.sender.delivery import Attempt
from examples.sender.payloads import Message, Samples, Story
from examples.sender.terminal import Refusal
from receiver import events

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

To = Annotated[str | None, typer.Option("--to", envvar="SENDER_TO", help="The endpoint's URL.", show_default=False)]
Duplicates = Annotated[int, typer.Option(min=0, max=1000, help="Send each delivery N further times, byte-identical.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a field of each payload.")]
Seed = Annotated[int | None, typer.Option(help="Repeat the same ids, times and bytes.")]
Json = Annotated[bool, typer.Option("--json", help="The report as JSON.")]
TimeOut = Annotated[float, typer.Option("--timeout", min=0.05, max=60, help="Seconds to wait; Glartek waits 10.")]


@app.callback()
def sender() -> None:
    """Play Glartek: send its eleven webhook events to a receiver."""


@app.command("list")
def list_types(*, json: Json = False) -> None:
    """The event types of Glartek's catalog, and when each is triggered."""
    if json:
        rows = [{"name": kind.name, "title": kind.title, "trigger": kind.trigger} for kind in events.CATALOG]
        terminal.as_json({"note": payloads.INVENTED, "types": rows})
        return
    terminal.table(
        ("TYPE", "GLARTEK'S TITLE", "TRIGGERED WHEN"),
        [(kind.name, kind.title, kind.trigger) for kind in events.CATALOG],
    )
    terminal.say(payloads.INVENTED)


@app.command()
def send(
    *,
    types: Annotated[
        list[str] | None, typer.Argument(metavar="TYPE…", help="Names or titles, as `list` has them.")
    ] = None,
    to: To = None,
    duplicates: Duplicates = 0,
    changes: Set = None,
    raw: Annotated[Path | None, typer.Option(help="Send this file's bytes as they are; - is stdin.")] = None,
    seed: Seed = None,
    timeout: TimeOut = delivery.TIMEOUT,
    json: Json = False,
) -> int:
    """Send one event of each TYPE, or the bytes of a file."""
    url = _endpoint(to)
    if raw is not None:
        if types or changes:
            raise Refusal("--raw sends a file as it is: leave out TYPE and --set")
        messages = [Message.raw(_bytes(raw))]
    elif types:
        messages = _messages(types, seed, changes or [])
    else:
        raise Refusal(f"which event? Expected one or more of: {', '.join(events.BY_NAME)}; or --raw FILE; or: all")
    return _send(url, messages, duplicates, timeout, json=json)


@app.command("all")
def send_all(
    *,
    to: To = None,
    duplicates: Duplicates = 0,
    changes: Set = None,
    seed: Seed = None,
    timeout: TimeOut = delivery.TIMEOUT,
    json: Json = False,
) -> int:
    """Send one event of every type, all about the same Work Order and Action."""
    return _send(_endpoint(to), _messages(list(events.BY_NAME), seed, changes or []), duplicates, timeout, json=json)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 0 for success, 1 when a delivery failed, 2 for wrong usage."""
    try:
        return app(arguments, prog_name="python -m examples.sender", standalone_mode=False) or 0
    except Refusal as refusal:
        terminal.complain(str(refusal))
    except typer.TyperException as mistake:
        terminal.complain(mistake.format_message())
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return 2


def _endpoint(to: str | None) -> str:
    if not to:
        raise Refusal(
            "--to is missing: expected the endpoint's URL, such as --to http://127.0.0.1:8000/webhooks/glartek/TOKEN"
        )
    parts = urlsplit(to)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Refusal(f"--to {to}: expected an http:// or https:// URL with a host")
    return to


def _bytes(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Refusal(f"--raw {file}: cannot be read: {error.strerror}") from None


def _messages(types: list[str], seed: int | None, changes: list[str]) -> list[Message]:
    rng, now = payloads.randomness(seed)
    story = Story(rng, Samples.ours())
    made = [story.event(words, now) for words in types]
    for payload in made:
        for change in changes:
            edits.assign(payload, change)
    return [Message.of(payload) for payload in made]


def _send(url: str, messages: list[Message], duplicates: int, timeout: float, *, json: bool) -> int:
    planned = [message for message in messages for _ in range(1 + duplicates)]
    attempts = asyncio.run(_deliver_all(url, planned, timeout))
    failed = sum(not attempt.ok for attempt in attempts)
    if json:
        terminal.as_json(_report(url, planned, attempts))
    else:
        rows = [_row(message, attempt) for message, attempt in zip(planned, attempts, strict=True)]
        terminal.table(("EVENT", "ID", "ANSWER", "TIME", "RESULT"), rows)
        terminal.say(f"{len(attempts) - failed} delivered, {failed} failed, to {terminal.without_secrets(url)}")
    return 1 if failed else 0


async def _deliver_all(url: str, messages: list[Message], timeout: float) -> list[Attempt]:
    attempts = []
    with terminal.progress() as bar:
        task = bar.add_task("sending", total=len(messages))
        async with delivery.client() as client:
            for message in messages:
                attempts.append(await delivery.deliver(client, url, message, timeout))
                bar.advance(task)
    return attempts


def _row(message: Message, attempt: Attempt) -> tuple[str, ...]:
    answer = str(attempt.status or "none")
    return message.type, message.id or "", answer, f"{attempt.seconds * 1000:.0f} ms", _result(attempt)


def _result(attempt: Attempt) -> str:
    if attempt.ok:
        return "delivered"
    return f"failed: {attempt.error or f'{attempt.status} is not 200 or 201'}"


def _report(url: str, messages: list[Message], attempts: list[Attempt]) -> dict[str, Any]:
    pairs = zip(messages, attempts, strict=True)
    rows = [{"type": message.type, "id": message.id, **attempt.as_dict()} for message, attempt in pairs]
    return {"to": terminal.without_secrets(url), "note": payloads.INVENTED, "deliveries": rows}


if __name__ == "__main__":
    sys.exit(main())
