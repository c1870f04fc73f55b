"""list, send and all: the event types, and sending one event of each."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from examples.sender import terminal
from examples.sender.commands import options
from examples.sender.commands.options import (
    Curl,
    Duplicates,
    Folder,
    Headers,
    Json,
    Map,
    Remove,
    Secret,
    Seed,
    Set,
    TimeOut,
    To,
)
from examples.sender.commands.sending import Sending
from examples.sender.http import delivery
from examples.sender.http.message import Message
from examples.sender.payload_map import PayloadMap
from examples.sender.play import payloads
from examples.sender.play.edits import Edits, pretty
from examples.sender.play.payloads import Samples, Story
from examples.sender.terminal import Refusal
from receiver import events

Edit = Annotated[bool, typer.Option("--edit", help="Change each body in $EDITOR before it is sent.")]


def list_types(*, json: Json = False) -> None:
    """List the event types of Glartek's catalog, and when each is triggered."""
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
    payload_map: Map = None,
    header: Headers = None,
    secret: Secret = None,
    seed: Seed = None,
    timeout: TimeOut = delivery.TIMEOUT,
    curl: Curl = False,
    json: Json = False,
) -> int:
    """Send an event for every sample of each TYPE, or the bytes of a file."""
    chosen = options.samples(samples, payload_map)
    url, signer = options.endpoint(to), options.signer(secret)
    sending = Sending(url, duplicates, timeout, signer, json, curl, chosen.note if raw is None else "")
    if raw is not None:
        if types or changes or remove or samples:
            raise Refusal("--raw sends a file as it is: leave out TYPE, --set, --remove and --samples")
        messages = [Message.raw(_bytes(raw), chosen.where)]
    elif types:
        messages = _messages(types, seed, chosen, changes, remove)
    else:
        raise Refusal(f"which event? Expected one or more of: {', '.join(events.BY_NAME)}; or --raw FILE; or: all")
    made = [_edited(message, chosen.where) for message in messages] if edit else messages
    return sending.run([message.having(options.headers(header)) for message in made])


def send_all(
    *,
    to: To = None,
    duplicates: Duplicates = 0,
    changes: Set = None,
    remove: Remove = None,
    samples: Folder = None,
    payload_map: Map = None,
    header: Headers = None,
    secret: Secret = None,
    seed: Seed = None,
    timeout: TimeOut = delivery.TIMEOUT,
    curl: Curl = False,
    json: Json = False,
) -> int:
    """Send one event of every type and sample, all about the same Work Order and Action."""
    chosen = options.samples(samples, payload_map)
    sending = Sending(options.endpoint(to), duplicates, timeout, options.signer(secret), json, curl, chosen.note)
    messages = _messages(list(chosen.by_type), seed, chosen, changes, remove)
    return sending.run([message.having(options.headers(header)) for message in messages])


def _messages(
    types: Sequence[str],
    seed: int | None,
    samples: Samples,
    changes: Sequence[str] | None,
    removals: Sequence[str] | None,
) -> list[Message]:
    rng, now = payloads.randomness(seed)
    story = Story(rng, samples)
    made = [
        story.event(words, now, index) for words in types for index in range(len(samples.by_type[samples.named(words)]))
    ]
    edits = Edits(changes, removals, made)
    for payload in made:
        edits.apply(payload)
    return [Message.of(payload, samples.where) for payload in made]


def _bytes(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Refusal(f"--raw {file}: cannot be read: {error.strerror}") from None


def _edited(message: Message, where: PayloadMap) -> Message:
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
        return Message.raw(file.read_bytes(), where)
