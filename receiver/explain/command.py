"""`python -m receiver explain FILE|-|FOLDER`: what the kit makes of a body, printed."""

import asyncio
import importlib
import importlib.util
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from receiver import batches
from receiver import explain as explaining
from receiver.command import AsJson
from receiver.content import Unreadable
from receiver.environment import SettingsError, load
from receiver.events import recordings
from receiver.events.recordings import Recorded, RecordingError
from receiver.payload_settings import SignatureSettings
from receiver.visible import to_json, visible, visible_lines

WHAT_FOLLOWS = "worker.explain"
"""The module that knows what the handlers would do, loaded by name: a receiver may be deployed without a worker."""
_SENT = 6000  # characters of what a handler would send


def explain(
    file: Annotated[
        str, typer.Argument(help="A file with a body as it was received, a folder of them, or - for stdin.")
    ],
    header: Annotated[list[str] | None, typer.Option(help="A header, 'name: value'; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the kit makes of a body: key, type, time, subject, every field with the path that it came from, what
    was not understood, which handlers would run and what they would send. Exit code 1 when it is no event.
    """
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is the report's
    given = dict(map(_header, header or []))
    config, samples = load(SignatureSettings), _samples(file)
    found = [
        {"file": sample.name} | report
        for sample in samples
        for report in _reports(config, {**sample.by_name, **given}, sample.body)
    ]
    if as_json:
        typer.echo(to_json(found[0] if len(found) == 1 and not Path(file).is_dir() else found))
    else:
        for report in found:
            _print(report)
    if any(report["unreadable"] for report in found):
        raise typer.Exit(1)


def _reports(config: SignatureSettings, headers: dict[str, str], body: bytes) -> list[dict[str, Any]]:
    deliveries = batches.deliveries(config.idempotency_rule(), headers, body, 0)
    reports = explaining.reports(config, headers, body)
    for report, delivery in zip(reports, deliveries, strict=True):
        if not report["unreadable"]:
            report["handlers"] = _what_follows(delivery.headers, delivery.body, delivery.id)
    return reports


def _what_follows(headers: dict[str, str], body: bytes, delivery_id: str) -> list[dict[str, Any]] | str | None:
    """Each handler and what it would send; a line where that cannot be told, None where there is no worker."""
    if importlib.util.find_spec(WHAT_FOLLOWS.partition(".")[0]) is None:
        return None
    follows = importlib.import_module(WHAT_FOLLOWS).what_follows
    try:
        with redirect_stdout(sys.stderr):  # what your modules print: stdout is the report's
            handlers: list[dict[str, Any]] = asyncio.run(follows(headers, body, delivery_id))
    except (SettingsError, Unreadable) as error:
        return str(error).split("\n", maxsplit=1)[0]
    return handlers


def _samples(file: str) -> list[Recorded]:
    if file == "-":
        return [Recorded(datetime.now(UTC), "POST", "/", (), sys.stdin.buffer.read(), None, "-")]
    try:
        return recordings.samples(Path(file))
    except RecordingError as error:
        raise SettingsError(str(error)) from None


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise SettingsError(f"--header: expected 'name: value', got {line!r}")
    return name.strip().lower(), value.strip()


def _print(report: dict[str, Any]) -> None:
    console = Console(markup=False, emoji=False, highlight=False)
    part = f", event {report['part']} of the batch" if report["part"] else ""
    keys = Table("idempotency source", "key", title=f"{visible(report['file'])}{part}: delivery {report['delivery']}")
    for source, key in report["keys"].items():
        used = f"{source} ◀ used" if source == report["source"] else source
        keys.add_row(Text(visible(used)), Text(visible(key or "—")))
    console.print(keys)
    if report["unreadable"]:
        console.print(f"event    none: {report['unreadable']}", soft_wrap=True)
        return
    for name, value, origin in (
        ("type", report["type"], report["type_from"]),
        ("time", report["time"], report["time_from"]),
        ("subject", report["subject"], report["subject_from"]),
    ):
        console.print(f"{name:<8} {visible(value or '(none found)')}: {visible(origin)}", soft_wrap=True)
    if report["fields"]:
        fields = Table("field", "value", "from")
        for name, told in report["fields"].items():
            fields.add_row(*(Text(visible(text, 80)) for text in (name, _short(told["value"]), told["from"])))
        console.print(fields)
        console.print(
            f"no value for {', '.join(report['missing'])}" if report["missing"] else "every field has a value"
        )
    for other in report["not_understood"]:
        console.print(
            visible(f"not understood: {other['path']}: {other['guess'] or 'like nothing the kit knows'}"),
            soft_wrap=True,
        )
    _print_handlers(console, report["handlers"])


def _print_handlers(console: Console, handlers: list[dict[str, Any]] | str | None) -> None:
    if handlers is None or isinstance(handlers, str):
        console.print(visible(f"handlers: cannot be told: {handlers or 'there is no worker here'}"), soft_wrap=True)
        return
    console.print(f"handlers {', '.join(one['handler'] for one in handlers) or '(none)'}", soft_wrap=True)
    for one in handlers:
        if one["why_not"]:
            console.print(visible(f"{one['handler']}: not shown: {one['why_not']}"), soft_wrap=True)
        else:
            console.print(f"{one['handler']} would send:", soft_wrap=True)
            console.print(visible_lines(to_json(one["sends"]), _SENT), soft_wrap=True)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value, indent=None)
