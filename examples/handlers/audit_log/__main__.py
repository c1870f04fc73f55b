"""`python -m examples.handlers.audit_log verify | export | head`: reads the log."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, NoReturn

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.engine import Engine

from examples.handlers import audit_log
from examples.handlers.audit_log import database, export
from examples.handlers.audit_log.record import Head, stamp
from examples.handlers.audit_log.schema import TABLE, unguarded
from examples.handlers.audit_log.verify import verify
from receiver import events
from receiver.environment import SettingsError, load
from receiver.visible import to_json, visible
from worker.handler import name_of

app = typer.Typer(help="The audit log: verify it, export it, or note its head.", no_args_is_help=True)
_errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def _a_head(text: str) -> Head:
    heads = list(Head.all_in(text))
    if [str(head) for head in heads] != [text]:
        raise typer.BadParameter("expected SEQ:HASH, as `head` prints it")
    return heads[0]


def _a_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("expected a time such as 2026-11-03 or 2026-11-03T09:00+00:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


Json = Annotated[bool, typer.Option("--json", help="For a program to read.")]
ExpectHead = Annotated[
    Head | None, typer.Option(parser=_a_head, metavar="SEQ:HASH", help="A head noted earlier: shows a tail cut since.")
]
Time = Annotated[
    datetime | None, typer.Option(parser=_a_time, metavar="TIME", help="Received from then on, or before.")
]


@app.command("verify")
def verify_command(
    *,
    expect_head: ExpectHead = None,
    anchors: Annotated[
        list[Path] | None,
        typer.Option(help="A file with heads noted earlier: an anchor file, a worker's log. May be repeated."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A whole export, instead of the database.")] = None,
    as_json: Json = False,
) -> None:
    """Read the whole log and report whether it was changed; exit code 1 if it was."""
    try:
        seal = load(audit_log.AuditSettings).seal()
    except SettingsError as error:
        _stop(str(error))
    expected = [head for path in anchors or () for head in _anchored(path)]
    expected += [expect_head] if expect_head else []
    if file is None:
        with _opened() as engine:
            with _progress("verifying", database.head(engine).seq) as done:
                report = verify(database.rows(engine), seal, expected, done)
            with engine.begin() as connection:
                report.unguarded.extend(unguarded(connection))
    else:
        with _readable("--file", file), _progress("verifying", None) as done:
            report = verify(export.rows(file), seal, expected, done)
    typer.echo(to_json(report.as_json(), indent=None) if as_json else "\n".join(map(visible, report.lines())))
    raise typer.Exit(0 if report.intact else 1)


@app.command("head")
def head_command(*, as_json: Json = False) -> None:
    """Print the last row's number and hash, to keep elsewhere for `verify --expect-head`."""
    with _opened() as engine:
        last = database.head(engine)
    if as_json:
        typer.echo(to_json({"seq": last.seq, "hash": last.hash if last.seq else None}, indent=None))
    else:
        typer.echo(visible(str(last)) if last.seq else "the log is empty")


@app.command("export")
def export_command(
    *,
    to: Annotated[Path | None, typer.Option(help="The file to write; otherwise standard output.")] = None,
    since: Time = None,
    until: Time = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only this event type, by name or title.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only this Work Order or Action, by its id.")] = None,
    delivery: Annotated[str | None, typer.Option(help="Only the row of this delivery, by its whole id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary for a program; rows are JSON always.")] = False,
) -> None:
    """Write rows as JSON Lines, oldest first; `verify --file` can verify an export of all rows."""
    conditions: list[sa.ColumnElement[bool]] = []
    if since is not None:
        conditions.append(TABLE.c.received_at >= stamp(since))
    if until is not None:
        conditions.append(TABLE.c.received_at < stamp(until))
    if event_type is not None:
        conditions.append(TABLE.c.event_type == events.canonical(event_type))
    if subject is not None:
        conditions.append(TABLE.c.subject_id.in_({subject, events.identifier(subject)}))
    if delivery is not None:
        conditions.append(TABLE.c.event_key == f"{name_of(audit_log.append)}:{delivery}")
    written = 0
    with _opened() as engine, _writable(to) as out, _progress("exporting", database.count(engine, *conditions)) as done:
        for row in database.rows(engine, *conditions):
            out.write(export.line(row))
            written += 1
            if written % 1000 == 0:
                done(written)
    if to is not None:
        summary = {"rows": written, "file": str(to)}
        typer.echo(to_json(summary, indent=None) if as_json else f"{written} rows written to {visible(str(to))}")


@contextmanager
def _opened() -> Iterator[Engine]:
    """Open the log for reading. A wrong setting or an unreachable database gives one line and exit code 2."""
    try:
        engine = audit_log.opened(load(audit_log.AuditSettings), database.check)
    except SettingsError as error:
        _stop(str(error))
    try:
        yield engine
    except sa.exc.DBAPIError as error:
        _stop(f"AUDIT_DATABASE_URL: cannot read the audit log: {database.cause(error)}")
    finally:
        engine.dispose()


@contextmanager
def _writable(to: Path | None) -> Iterator[BinaryIO]:
    """The output as a binary stream: rows are UTF-8 in any locale."""
    try:
        with nullcontext(sys.stdout.buffer) if to is None else to.open("wb") as out:
            yield out
            out.flush()
    except BrokenPipeError:
        raise  # the reader closed the pipe: not an error
    except OSError as error:
        _stop(f"--to: cannot write {to or 'standard output'}: {os.strerror(error.errno or 0)}")


@contextmanager
def _readable(option: str, file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _stop(f"{option}: cannot read {file}: {os.strerror(error.errno or 0)}")
    except export.NotExported as error:
        _stop(f"{option}: {error}")


def _anchored(file: Path) -> list[Head]:
    with _readable("--anchors", file), file.open(encoding="utf-8", errors="replace") as lines:
        heads = [head for line in lines for head in Head.all_in(line)]
    if not heads:
        _stop(f"--anchors: {file} has no head in it; expected SEQ:HASH somewhere, as `head` prints it")
    return heads


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_errors, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _stop(line: str) -> NoReturn:
    _errors.print(visible(line, 1000), style="red")
    raise typer.Exit(2)


if __name__ == "__main__":
    app(prog_name="python -m examples.handlers.audit_log")
