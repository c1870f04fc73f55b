"""list, send and all: one event of each type that is named."""

import asyncio
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from examples.sender import terminal
from examples.sender.commands import options
from examples.sender.commands.options import STOPPED, Duplicates, Folder, Json, Remove, Secret, Seed, Set, TimeOut, To
from examples.sender.http import delivery
from examples.sender.http.delivery import Attempt
from examples.sender.http.message import Message
from examples.sender.http.signing import Signer
from examples.sender.play import payloads
from examples.sender.play.edits import Edits, pretty
from examples.sender.play.payloads import Samples, Story
from examples.sender.terminal import Refusal
from receiver import events

Edit = Annotated[bool, typer.Option("--edit", help="Change each body in $EDITOR before it is sent.")]


def list_types(*, json: Json = False) -> None:
    """The event types of Glartek's catalog, and when each is triggered."""
    if json:
        rows = [{"name": kind.name, "title": kind.title, "trigger": kind.trigger} for kind in events.CATALOG]
        terminal.as_json({"note": payloads.INVENTED, "types": rows})
        return
    rows_shown = [(kind.name, kind.title, kind.trigger) for kind in events.CATALOG]
    terminal.table(("TYPE", "GLARTEK'S TITLE", "TRIGGERED WHEN"), rows_shown)
    terminal.say(payloads.INVENTED)


def send(
    *,
    types: Annotated[list[str] | None, typer.Argument(metavar="TYPE…", help="Names or titles, as in `list`.")] = None,
    to: To = None,
    duplicates: Duplicates = 0,
    changes: Set = None,
    remove: Remove = None,
    edit: Edit = False,
    raw: Annotated[Path | None, typer.Option(help="Send this file's bytes as they are; - is stdin.")] = None,
    samples: Folder = None,
    secret: Secret = None,
    seed: Seed = None,
    timeout: TimeOut = delivery.TIMEOUT,
    json: Json = False,
) -> int:
    """Send one event of each TYPE, or the bytes of a file."""
    sending = Sending(options.endpoint(to), duplicates, timeout, options.signer(secret), json)
    if raw is not None:
        if types or changes or remove or samples:
            raise Refusal("--raw sends a file as it is: leave out TYPE, --set, --remove and --samples")
        messages = [Message.raw(_bytes(raw))]
    elif types:
        messages = _messages(types, seed, options.samples(samples), changes, remove)
    else:
        raise Refusal(f"which event? Expected one or more of: {', '.join(events.BY_NAME)}; or --raw FILE; or: all")
    return sending.run([_edited(message) for message in messages] if edit else messages)


def send_all(
    *,
    to: To = None,
    duplicates: Duplicates = 0,
    changes: Set = None,
    remove: Remove = None,
    samples: Folder = None,
    secret: Secret = None,
    seed: Seed = None,
    timeout: TimeOut = delivery.TIMEOUT,
    json: Json = False,
) -> int:
    """Send one event of every type, all about the same Work Order and Action."""
    sending = Sending(options.endpoint(to), duplicates, timeout, options.signer(secret), json)
    chosen = options.samples(samples)
    return sending.run(_messages(list(chosen.payloads), seed, chosen, changes, remove))


@dataclass(frozen=True, slots=True)
class Sending:
    """Where to, how often, and how to report it."""

    url: str
    duplicates: int
    timeout: float
    signer: Signer | None
    json: bool

    @property
    def _settings(self) -> dict[str, Any]:
        return {"timeout": self.timeout, "duplicates": self.duplicates, "signed": "yes" if self.signer else "no"}

    def run(self, messages: Sequence[Message]) -> int:
        """Send all of them in order, print the report; the exit code is 1 when any delivery failed."""
        planned = [message for message in messages for _ in range(1 + self.duplicates)]
        attempts: list[Attempt] = []
        stopped = options.until_stopped(self._deliver(planned, attempts))
        if self.json:
            terminal.as_json(self._report(planned, attempts))
        else:
            self._print(planned, attempts)
        return STOPPED if stopped else int(not all(attempt.ok for attempt in attempts))

    async def _deliver(self, messages: Sequence[Message], attempts: list[Attempt]) -> None:
        with terminal.progress() as bar:
            task = bar.add_task("sending", total=len(messages))
            async with delivery.client() as client:
                for message in messages:
                    signed = self.signer.signed(message) if self.signer else message
                    begun = time.perf_counter()
                    try:
                        attempts.append(await delivery.deliver(client, self.url, signed, self.timeout))
                    except asyncio.CancelledError:
                        attempts.append(Attempt(None, time.perf_counter() - begun, delivery.STOPPED))
                        raise
                    bar.advance(task)

    def _print(self, messages: Sequence[Message], attempts: Sequence[Attempt]) -> None:
        rows = [_row(message, attempt) for message, attempt in zip(messages, attempts, strict=False)]
        failed = sum(not attempt.ok for attempt in attempts)
        unsent = f", {len(messages) - len(attempts)} not sent" if len(attempts) < len(messages) else ""
        terminal.table(("EVENT", "ID", "ANSWER", "TIME", "RESULT"), rows)
        to = terminal.without_secrets(self.url)
        terminal.say(f"{len(attempts) - failed} delivered, {failed} failed{unsent}, to {to}")
        terminal.settings(self._settings)

    def _report(self, messages: Sequence[Message], attempts: Sequence[Attempt]) -> dict[str, Any]:
        pairs = zip(messages, attempts, strict=False)  # a run that was stopped has fewer attempts
        rows = [{"type": message.type, "id": message.id, **attempt.as_dict()} for message, attempt in pairs]
        return {
            "to": terminal.without_secrets(self.url),
            "note": payloads.INVENTED,
            "settings": self._settings,
            "not_sent": len(messages) - len(rows),
            "deliveries": rows,
        }


def _messages(
    types: Sequence[str],
    seed: int | None,
    samples: Samples,
    changes: Sequence[str] | None,
    removals: Sequence[str] | None,
) -> list[Message]:
    rng, now = payloads.randomness(seed)
    story = Story(rng, samples)
    made = [story.event(words, now) for words in types]
    edits = Edits(changes, removals, made)
    for payload in made:
        edits.apply(payload)
    return [Message.of(payload) for payload in made]


def _bytes(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Refusal(f"--raw {file}: cannot be read: {error.strerror}") from None


def _edited(message: Message) -> Message:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise Refusal("--edit: set EDITOR to the command of your editor, such as EDITOR=nano")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{message.type}.json"
        file.write_bytes(pretty(message.body))
        try:
            ended = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
        except OSError as error:
            raise Refusal(f"--edit: EDITOR={editor} cannot be run: {error.strerror}") from None
        if ended:
            raise Refusal(f"--edit: EDITOR={editor} ended with exit code {ended}, so nothing was sent")
        return Message.raw(file.read_bytes())


def _row(message: Message, attempt: Attempt) -> tuple[str, ...]:
    answer = str(attempt.status or "none")
    return message.type, message.id or "", answer, f"{attempt.seconds * 1000:.0f} ms", _result(attempt)


def _result(attempt: Attempt) -> str:
    if attempt.ok:
        return "delivered"
    return f"failed: {attempt.error or f'{attempt.status} is not 200 or 201'}"
